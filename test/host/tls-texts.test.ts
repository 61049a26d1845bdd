/** What is said about TLS before anything listens, and how often while it does. */
import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { checkCredentials } from "../../lib/host/node-tls-credentials.js";
import { tlsProblem } from "../../lib/host/node-tls-failures.js";
import { RefusalLog } from "../../lib/host/refusal-log.js";
import { type Log, silentLog } from "../../lib/log.js";
import { SimClock } from "../sim/sim-clock.js";
import { Authority } from "./certificates.js";

describe("the files of TLS", () => {
  const authority = new Authority("authority of the tests");
  const own = authority.issue("node", { validTo: new Date("2049-01-02T03:04:05Z") });
  const other = authority.issue("node");

  function refusal(pem: { cert?: string; key?: string; ca?: string }): string {
    try {
      checkCredentials({
        cert: { path: "a.crt", pem: pem.cert ?? own.cert },
        key: { path: "a.key", pem: pem.key ?? own.key },
        ca: { path: "ca.crt", pem: pem.ca ?? authority.cert },
      });
    } catch (error) {
      if (error instanceof OperatingError && error.code === "CONFIG") return error.message;
      throw error;
    }
    throw new Error("the files were accepted");
  }

  it("are accepted when they belong together, a chain of certificates too", () => {
    const cert = { path: "a.crt", pem: `some words\n${own.cert}${authority.cert}` };
    const key = { path: "a.key", pem: own.key };
    const credentials = checkCredentials({ cert, key, ca: null });
    expect(credentials.authority).to.equal(null);
    expect(credentials.validToMs).to.equal(Date.parse("2049-01-02T03:04:05Z"));
    const both = { path: "ca.crt", pem: authority.cert + new Authority("second").cert };
    expect(checkCredentials({ cert, key, ca: both }).authority).to.equal(both.pem);
  });

  it("are refused with the setting, the file and what to do", () => {
    expect(refusal({ key: other.key })).to.equal(
      "tls-key: a.key is not the key of the certificate in a.crt: give the two that were made together",
    );
    expect(refusal({ cert: "" })).to.equal("tls-cert: a.crt holds no certificate in PEM (-----BEGIN CERTIFICATE-----)");
    expect(refusal({ cert: own.key })).to.contain("tls-cert: a.crt holds no certificate");
    expect(refusal({ key: own.cert })).to.contain("tls-key: a.key holds no private key in PEM without a passphrase");
    expect(refusal({ ca: own.key })).to.contain("tls-ca: ca.crt holds no certificate");
    const damaged = own.cert.replace(/\n.{20}/, `\n${"A".repeat(20)}`);
    expect(refusal({ cert: damaged })).to.contain("tls-cert: a.crt holds a damaged certificate");
  });
});

describe("failures of TLS", () => {
  const failure = (code: string): Error => Object.assign(new Error(`80BB:error: ${code}`), { code });

  it("are told in words, by their codes", () => {
    const cases: readonly [string, RegExp][] = [
      ["ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", /^it does not trust the certificate in tls-cert$/],
      ["ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED", /^it says that the certificate in tls-cert has expired$/],
      ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", /^it refused the TLS handshake: it may want a certificate$/],
      ["ERR_SSL_WRONG_VERSION_NUMBER", /^it does not speak TLS/],
      ["ERR_SSL_NO_SHARED_CIPHER", /^it shares no cipher/],
      ["ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR", /^it refused the TLS handshake$/],
      ["ERR_SSL_SOMETHING_NEW", /^the TLS handshake failed$/],
      ["ECONNRESET", /^it closed the connection during the TLS handshake/],
    ];
    for (const [code, text] of cases) expect(tlsProblem(failure(code), "handshake"), code).to.match(text);
  });

  it("are not blamed on TLS once its handshake is over, unless they are its own", () => {
    expect(tlsProblem(Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" }), "traffic")).to.equal(
      "read ECONNRESET",
    );
    expect(tlsProblem(failure("ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), "traffic")).to.contain("altered");
    expect(tlsProblem(failure("ERR_SSL_TLSV1_ALERT_UNKNOWN_CA"), "traffic")).to.contain("does not trust");
  });
});

describe("the log of refused connections", () => {
  it("has each reason once, then at most once a minute with how many there were", async () => {
    const clock = new SimClock();
    const lines: string[] = [];
    const warn = (fields: object, message: string): void => void lines.push(`${JSON.stringify(fields)} ${message}`);
    const log: Log = { ...silentLog, warn };
    const refusals = new RefusalLog({ log, clock });
    for (let turn = 0; turn < 1_000; turn++) {
      refusals.note("10.0.0.1", "it speaks no TLS");
      await clock.advance(50);
    }
    refusals.note("10.0.0.2", "it is too slow");
    expect(lines).to.deep.equal([
      '{"client":"10.0.0.1"} a client\'s connection was refused: it speaks no TLS',
      '{"client":"10.0.0.2"} a client\'s connection was refused: it is too slow',
    ]);
    await clock.advance(10_000);
    refusals.note("10.0.0.3", "it speaks no TLS");
    expect(lines.slice(2)).to.deep.equal([
      '{"client":"10.0.0.3","others":999} a client\'s connection was refused: it speaks no TLS',
    ]);
  });
});
