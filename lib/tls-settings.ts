/** The settings of TLS, which need each other. Their files are read when the node starts, and checked in host/. */
import { choice, text } from "./setting-kinds.js";

export const tlsSettings = {
  tlsCert: text({
    name: "tls-cert",
    default: "",
    why: "PEM file of this node's certificate, with its chain; with tls-key the client port and the peer port speak TLS only",
  }),
  tlsKey: text({ name: "tls-key", default: "", why: "PEM file of the private key of tls-cert, without a passphrase" }),
  tlsCa: text({
    name: "tls-ca",
    default: "",
    why: "PEM file of the authority whose certificates are trusted: members must show one of its to each other, clients as tls-auth-clients says",
  }),
  tlsAuthClients: choice({
    name: "tls-auth-clients",
    default: "no",
    values: ["no", "optional", "yes"],
    why: "must clients show a certificate of tls-ca; no by default, unlike in Redis, so that tls-ca for members locks no client out",
  }),
} as const;

export interface TlsValues {
  /** Paths; empty where there is none. */
  readonly tlsCert: string;
  readonly tlsKey: string;
  readonly tlsCa: string;
  readonly tlsAuthClients: "no" | "optional" | "yes";
}

/**
 * What of TLS is set without what it needs; null when nothing is. Half of it must not pass for all of it: traffic would be in
 * the clear unnoticed.
 */
export function tlsProblem({ tlsCert, tlsKey, tlsCa, tlsAuthClients }: TlsValues): string | null {
  if ((tlsCert === "") !== (tlsKey === "")) {
    const missing = tlsCert === "" ? "tls-cert" : "tls-key";
    return `tls-cert and tls-key go together: set ${missing} too, or neither for no TLS`;
  }
  if (tlsCa !== "" && tlsCert === "") return "tls-ca needs tls-cert and tls-key: without them there is no TLS";
  if (tlsAuthClients !== "no" && tlsCa === "") {
    return `tls-auth-clients ${tlsAuthClients} needs tls-ca: the authority that signs the certificates of clients`;
  }
  return null;
}
