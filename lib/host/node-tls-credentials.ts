/**
 * The certificate, key and authority of a node, checked before anything listens: what is wrong with them is said at the
 * start, with the setting and the file, not by the first handshake.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { messageOf, OperatingError } from "../errors.js";

/** What a setting names: the file's path, for errors, and its content. */
export interface PemFile {
  readonly path: string;
  readonly pem: string;
}

export interface TlsCredentials {
  /** PEM: the node's certificate first, then those between it and the authority, if any. */
  readonly certificate: string;
  readonly key: string;
  /** PEM of one or several authorities; null where nobody has to present a certificate. */
  readonly authority: string | null;
  /** When the node's own certificate ends, in ms since the Unix epoch. */
  readonly validToMs: number;
}

const CERTIFICATES = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** Throws `CONFIG`, naming the setting and the file, for what is no PEM, a key of another certificate, or refused by OpenSSL. */
export function checkCredentials(files: { cert: PemFile; key: PemFile; ca: PemFile | null }): TlsCredentials {
  const { cert, key, ca } = files;
  const [certificate] = certificatesOf("tls-cert", cert);
  if (ca !== null) certificatesOf("tls-ca", ca);
  if (!certificate!.checkPrivateKey(keyOf(key))) {
    throw problem("tls-key", key, `is not the key of the certificate in ${cert.path}: give the two that were made together`);
  }
  try {
    createSecureContext({ cert: cert.pem, key: key.pem, ...(ca !== null && { ca: ca.pem }) });
  } catch (error) {
    throw problem("tls-cert", cert, `cannot be used: ${messageOf(error)}`);
  }
  return { certificate: cert.pem, key: key.pem, authority: ca?.pem ?? null, validToMs: Date.parse(certificate!.validTo) };
}

/** At least one. */
function certificatesOf(setting: string, file: PemFile): X509Certificate[] {
  const blocks = file.pem.match(CERTIFICATES) ?? [];
  if (blocks.length === 0) throw problem(setting, file, "holds no certificate in PEM (-----BEGIN CERTIFICATE-----)");
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    throw problem(setting, file, `holds a damaged certificate: ${messageOf(error)}`);
  }
}

function keyOf(file: PemFile): KeyObject {
  try {
    return createPrivateKey(file.pem);
  } catch (error) {
    throw problem("tls-key", file, `holds no private key in PEM without a passphrase: ${messageOf(error)}`);
  }
}

function problem(setting: string, file: PemFile, text: string): OperatingError {
  return new OperatingError("CONFIG", `${setting}: ${file.path} ${text}`);
}
