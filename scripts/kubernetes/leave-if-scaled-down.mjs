/**
 * The preStop hook of a pod of the StatefulSet: has the member leave its ring, and waits until it has, if the pod is not to come
 * back, and does nothing if it is. A pod is deleted for many reasons, a rolling restart or the drain of a machine among them, and
 * leaving would then move all of its data twice. What tells them apart is how many replicas the StatefulSet is to have, which is
 * lowered before the pod is deleted: only one whose ordinal is not below it goes for good.
 *
 * Where that cannot be found out the member stays: it is down then, its volume is kept, and nothing is lost.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { pathToFileURL } from "node:url";

const ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";
const ASK_MS_MAX = 5_000;

/** Whether the pod `kindred-3` goes for good where its StatefulSet is to have so many replicas. */
export function isScaledDown(podName, replicas) {
  const ordinal = /-(\d+)$/.exec(podName)?.[1];
  if (ordinal === undefined) throw new Error(`${podName} is no pod of a StatefulSet: its name ends with no number`);
  if (!Number.isInteger(replicas) || replicas < 0) throw new Error(`the StatefulSet tells no number of replicas: ${replicas}`);
  return Number(ordinal) >= replicas;
}

function wantedReplicas(namespace, name) {
  return new Promise((resolve, reject) => {
    const asking = request(
      {
        host: process.env.KUBERNETES_SERVICE_HOST,
        port: process.env.KUBERNETES_SERVICE_PORT_HTTPS ?? 443,
        path: `/apis/apps/v1/namespaces/${namespace}/statefulsets/${name}`,
        ca: readFileSync(`${ACCOUNT}/ca.crt`),
        headers: { authorization: `Bearer ${readFileSync(`${ACCOUNT}/token`, "utf8")}` },
        timeout: ASK_MS_MAX,
      },
      (response) => {
        let text = "";
        response.on("data", (chunk) => {
          text += chunk;
        });
        response.on("end", () => {
          if (response.statusCode !== 200) return reject(new Error(`the API server answers ${response.statusCode}`));
          try {
            resolve(JSON.parse(text).spec?.replicas);
          } catch (error) {
            reject(error);
          }
        });
      },
    );
    asking.on("timeout", () => asking.destroy(new Error(`the API server did not answer within ${ASK_MS_MAX} ms`)));
    asking.on("error", reject);
    asking.end();
  });
}

async function main([program, ...args]) {
  const { POD_NAME = "", POD_NAMESPACE = "", STATEFUL_SET = "" } = process.env;
  if (!isScaledDown(POD_NAME, await wantedReplicas(POD_NAMESPACE, STATEFUL_SET))) return;
  const child = spawn(process.execPath, [program, "leave", ...args], { stdio: "inherit" });
  process.exitCode = await new Promise((resolve) => child.once("close", (code) => resolve(code ?? 1)));
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(process.argv.slice(2));
}
