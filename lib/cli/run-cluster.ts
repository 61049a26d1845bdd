/** `kindred cluster` from its options to running members: looks at directories and ports first, so that it fails whole. */
import { allSettings, type Config } from "../config.js";
import { OperatingError } from "../errors.js";
import type { Children } from "../host/children.js";
import type { Clock } from "../host/clock.js";
import type { Disk } from "../host/disk.js";
import type { Network } from "../host/network.js";
import { leftOut, type MemberPlan, memberName, planMembers, reachable } from "./cluster-plan.js";
import { LocalCluster } from "./local-cluster.js";
import { renderTable } from "./table.js";

export interface RunClusterOptions {
  readonly nodes: number;
  readonly port: number;
  readonly peerPort: number | null;
  readonly directory: string;
  /** Settings that each member gets as flags, and the file of more. */
  readonly flags: ReadonlyMap<string, string>;
  readonly configPath: string | null;
  /** What they make of a member, with those of the environment. */
  readonly config: Config;
  /** Where nothing chose one. */
  readonly logFormat: Config["logFormat"];
  readonly version: string;
  readonly host: { readonly disk: Disk; readonly clock: Clock; readonly network: Network };
  readonly children: Children;
  readonly output: (text: string) => void;
  /** Told once, before anything is started: what stops the members, and the second time kills them. */
  readonly onStart: (stop: () => void) => void;
}

/** Resolves when all members have ended. Rejects with CONFIG or UNAVAILABLE when they cannot be started; none is left then. */
export async function runLocalCluster(options: RunClusterOptions): Promise<"clean" | "not clean"> {
  const { host, config, directory, nodes, output } = options;
  const names = Array.from({ length: nodes }, (_, at) => memberName(at));
  const settings = new Map(options.flags);
  if (config.logFormat === "auto" && options.logFormat !== "auto") settings.set("log-format", options.logFormat);
  const members = planMembers({
    nodes,
    port: options.port,
    peerPort: options.peerPort,
    directory,
    bind: config.bind,
    settings,
    configPath: options.configPath,
    existing: new Set(names.filter((name) => (host.disk.list(`${directory}/${name}`) ?? []).length > 0)),
    known: new Set(allSettings().map(({ name }) => name)),
  });
  await refuseTakenPorts(host.network, config.bind, members);
  const cluster = new LocalCluster({
    children: options.children,
    clock: host.clock,
    members,
    output,
    announcement: (processIds) => announcement(options, members, processIds),
  });
  options.onStart(() => cluster.stop());
  const others = leftOut(host.disk.list(directory) ?? [], nodes);
  if (others.length > 0) {
    output(`kindred cluster: ${directory} has data of ${others.join(", ")} too, which --nodes ${nodes} does not start\n`);
  }
  return cluster.run();
}

/** Members find out themselves, too; but only all of them together can be refused before the first has begun. */
async function refuseTakenPorts(network: Network, bind: string, members: readonly MemberPlan[]): Promise<void> {
  const taken: number[] = [];
  for (const port of members.flatMap((member) => [member.port, member.peerPort])) {
    try {
      const listener = await network.listen({ host: bind, port, onConnection: (connection) => connection.destroy() });
      await listener.close();
    } catch (error) {
      const code = error instanceof OperatingError ? (error.cause as { readonly code?: string } | undefined)?.code : undefined;
      if (code !== "EADDRINUSE") throw error;
      taken.push(port);
    }
  }
  if (taken.length === 0) return;
  const what = taken.length === 1 ? `port ${taken[0]} is` : `ports ${taken.join(", ")} are`;
  throw new OperatingError(
    "UNAVAILABLE",
    `${what} in use on ${bind}: stop what listens there (a cluster that still runs?) or choose another --port`,
  );
}

/** What a client of these members has to be told of TLS: `names` are those of its flags. */
function tlsFlags({ tlsCert, tlsCa, tlsAuthClients }: Config, [ca, cert, key]: readonly [string, string, string]): string {
  if (tlsCert === "") return "";
  const authority = tlsCa === "" ? "" : ` ${ca} ${tlsCa}`;
  const own = tlsAuthClients === "yes" ? ` ${cert} <file> ${key} <file>` : "";
  return ` --tls${authority}${own}`;
}

function announcement(
  { config, version, directory }: RunClusterOptions,
  members: readonly MemberPlan[],
  processIds: readonly number[],
): string {
  const address = reachable(config.bind);
  const rows = members.map((member, at) => ({ ...member, processId: processIds[at]! }));
  const table = renderTable(
    [
      { title: "member", align: "left", cell: (row) => row.name },
      { title: "clients", align: "left", cell: (row) => `${address}:${row.port}` },
      { title: "peers", align: "left", cell: (row) => `${address}:${row.peerPort}` },
      { title: "process", align: "right", cell: (row) => String(row.processId) },
      { title: "data", align: "left", cell: (row) => row.directory },
    ],
    rows,
    { colours: "none" },
  );
  const { port } = members[0]!;
  const where = address === "127.0.0.1" ? "" : ` -h ${address}`;
  const elsewhere = address === "127.0.0.1" ? "" : ` --host-address ${address}`;
  const [password, secret] = config.requirepass === "" ? ["", ""] : [" -a <password>", " --password <password>"];
  const cliTls = tlsFlags(config, ["--cacert", "--cert", "--key"]);
  const statusTls = tlsFlags(config, ["--tls-ca", "--tls-cert", "--tls-key"]);
  const count = members.length === 1 ? "1 member" : `${members.length} members`;
  return `
  Kindred ${version}: ${count} ready, data in ${directory}

${table.replace(/^/gm, "  ").trimEnd()}

  connect   redis-cli${where} -p ${port}${cliTls}${password}      (any member; with -c, or a cluster client, too)
  look      npx kindred status${elsewhere} --port ${port}${statusTls}${secret}
  stop      Ctrl-C

`;
}
