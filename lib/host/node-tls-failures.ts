/**
 * Why TLS failed, for people: OpenSSL's and Node's codes as one sentence about the other side ("it ...") that says what to
 * change. The texts are few, whatever the other side sends, so that a log can count by them. Pure.
 */

/** An error of a TLS socket, as far as it is looked at. */
interface TlsError extends Error {
  readonly code?: unknown;
}

const NO_TLS = "it does not speak TLS, and this node does (tls-cert): use TLS on both sides, or on none";
const UNKNOWN_SIGNER = "its certificate is not signed by the authority in tls-ca";
const EXPIRED = "its certificate has expired, or a clock is wrong";

/** What is wrong with a certificate, by the code of its verification. */
const CERTIFICATE_PROBLEMS: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_SIGNER,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_SIGNER,
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_SIGNER,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_SIGNER,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_SIGNER,
  CERT_SIGNATURE_FAILURE: UNKNOWN_SIGNER,
  CERT_HAS_EXPIRED: EXPIRED,
  CERT_NOT_YET_VALID: "its certificate is not valid yet, or a clock is wrong",
  INVALID_PURPOSE:
    "its certificate is not for this use: members need the extended key usages serverAuth and clientAuth, or none",
};

/** What stands in OpenSSL's codes, and what it means. The first that fits counts. */
const PROTOCOL_PROBLEMS: readonly { readonly code: RegExp; readonly text: string }[] = [
  {
    code: /ALERT_UNKNOWN_CA|ALERT_BAD_CERTIFICATE|ALERT_CERTIFICATE_UNKNOWN/,
    text: "it does not trust the certificate in tls-cert",
  },
  { code: /ALERT_CERTIFICATE_EXPIRED/, text: "it says that the certificate in tls-cert has expired" },
  {
    code: /ALERT_CERTIFICATE_REQUIRED|ALERT_HANDSHAKE_FAILURE/,
    text: "it refused the TLS handshake: it may want a certificate",
  },
  {
    code: /ALERT_PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|VERSION_TOO_LOW/,
    text: "it speaks no version of TLS that this node accepts",
  },
  { code: /ALERT/, text: "it refused the TLS handshake" },
  { code: /WRONG_VERSION_NUMBER|HTTP_REQUEST|HTTPS_PROXY_REQUEST|PACKET_LENGTH_TOO_LONG|UNKNOWN_PROTOCOL/, text: NO_TLS },
  { code: /RECORD_LAYER_FAILURE|BAD_RECORD_TYPE|UNEXPECTED_MESSAGE/, text: NO_TLS },
  { code: /NO_SHARED_CIPHER|NO_SUITABLE/, text: "it shares no cipher of TLS with this node" },
];

/** Null when the code is not one of a certificate that was looked at. */
export function certificateProblem(code: string): string | null {
  return CERTIFICATE_PROBLEMS[code] ?? null;
}

/** One sentence about the other side. `during` is what was under way: only then may a plain reset mean that TLS is the trouble. */
export function tlsProblem(error: Error, during: "handshake" | "traffic"): string {
  const { code } = error as TlsError;
  const name = typeof code === "string" ? code : "";
  const known = certificateProblem(name) ?? PROTOCOL_PROBLEMS.find((problem) => problem.code.test(name))?.text;
  if (known !== undefined) return known;
  if (during === "traffic") return name.startsWith("ERR_SSL_") ? "what it sent is no TLS, or was altered" : error.message;
  if (name === "ECONNRESET" || name === "EPIPE") return "it closed the connection during the TLS handshake: does it speak TLS?";
  return name.startsWith("ERR_SSL_") ? "the TLS handshake failed" : error.message;
}
