/** The folder's entry: the links between nodes. See `Peers`. */
export {
  PeerCallError,
  type PeerFailureCode,
  PeerRefusal,
  type RefusalCode,
  type RefusalReason,
} from "./failure.js";
export type { PeerHello, PeerIdentity, PeerObjection } from "./handshake.js";
export type { ProtocolVersions } from "./hello.js";
export type { PeerHandler, PeerRequest } from "./incoming-link.js";
export type { OutBuffer } from "./out-buffer.js";
export type { PeerAddress, PeerState } from "./outgoing-link.js";
export { BACKGROUND_KIND_MIN, type PeerCall, type PeerCallHead, type PeerNotice } from "./peer-call.js";
export { Peers, type PeersOptions } from "./peers.js";
export { defaultPeerSettings, type PeerSettings } from "./settings.js";
