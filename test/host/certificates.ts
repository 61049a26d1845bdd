/**
 * Makes certificates for tests: Node signs but cannot mint X.509, so the few structures are encoded here (DER, RFC 5280). So
 * no test needs openssl, no private key lies in the repository, and an expired certificate is a date away.
 */
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";

/** PEM of a certificate and of its key, as files hold them. */
export interface Minted {
  readonly cert: string;
  readonly key: string;
}

export interface CertificateOptions {
  /** Default: valid for a day around now. */
  readonly validFrom?: Date;
  readonly validTo?: Date;
  /** Extended key usages. Default: none, so any use. */
  readonly usages?: readonly ("serverAuth" | "clientAuth")[];
}

const DAY_MS = 86_400_000;

const OID = {
  commonName: "2.5.4.3",
  subjectAlternativeName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  extendedKeyUsage: "2.5.29.37",
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
} as const;

/** An authority with a certificate of its own. */
export class Authority {
  readonly cert: string;
  readonly #name: string;
  readonly #key: KeyObject;
  #serial = 1;

  constructor(name: string) {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    this.#name = name;
    this.#key = privateKey;
    const isAuthority = extension(OID.basicConstraints, sequence(boolean(true)), { isCritical: true });
    this.cert = this.#mint({ name, publicKey, extensions: [isAuthority], options: {} });
  }

  /** A certificate for 127.0.0.1 and localhost, signed by this authority, with a new key. */
  issue(name: string, options: CertificateOptions = {}): Minted {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const names = sequence(der(0x82, Buffer.from("localhost")), der(0x87, Buffer.of(127, 0, 0, 1)));
    const extensions = [extension(OID.subjectAlternativeName, names)];
    if (options.usages !== undefined) {
      extensions.push(extension(OID.extendedKeyUsage, sequence(...options.usages.map((usage) => oid(OID[usage])))));
    }
    const cert = this.#mint({ name, publicKey, extensions, options });
    return { cert, key: privateKey.export({ type: "pkcs8", format: "pem" }).toString() };
  }

  #mint(wanted: { name: string; publicKey: KeyObject; extensions: Buffer[]; options: CertificateOptions }): string {
    const { validFrom = new Date(Date.now() - DAY_MS), validTo = new Date(Date.now() + DAY_MS) } = wanted.options;
    const algorithm = sequence(oid(OID.ecdsaWithSha256));
    const body = sequence(
      der(0xa0, integer(2)),
      integer(this.#serial++),
      algorithm,
      nameOf(this.#name),
      sequence(time(validFrom), time(validTo)),
      nameOf(wanted.name),
      wanted.publicKey.export({ type: "spki", format: "der" }),
      der(0xa3, sequence(...wanted.extensions)),
    );
    const signature = der(0x03, Buffer.of(0), sign("sha256", body, this.#key));
    const lines = sequence(body, algorithm, signature)
      .toString("base64")
      .match(/.{1,64}/g)!;
    return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
  }
}

function der(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  const head = length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), content]);
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return der(0x30, ...parts);
}

/** 0 to 127. */
function integer(value: number): Buffer {
  return der(0x02, Buffer.of(value));
}

function boolean(value: boolean): Buffer {
  return der(0x01, Buffer.of(value ? 0xff : 0));
}

function oid(dotted: string): Buffer {
  const [first, second, ...rest] = dotted.split(".").map(Number);
  const bytes = [40 * first! + second!];
  for (const arc of rest) {
    const digits = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) digits.unshift(0x80 | (left & 0x7f));
    bytes.push(...digits);
  }
  return der(0x06, Buffer.from(bytes));
}

function nameOf(commonName: string): Buffer {
  return sequence(der(0x31, sequence(oid(OID.commonName), der(0x0c, Buffer.from(commonName)))));
}

/** UTCTime, which every year from 1950 to 2049 has to be. */
function time(date: Date): Buffer {
  return der(0x17, Buffer.from(`${date.toISOString().replace(/[-:T]/g, "").slice(2, 14)}Z`));
}

function extension(id: string, value: Buffer, { isCritical = false } = {}): Buffer {
  const critical = isCritical ? [boolean(true)] : [];
  return sequence(oid(id), ...critical, der(0x04, value));
}
