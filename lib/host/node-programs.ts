/** Programs run by Node. What they leave running themselves is theirs. */
import { spawn } from "node:child_process";
import { messageOf, OperatingError } from "../errors.js";
import type { ProgramEnd, ProgramRun, Programs } from "./programs.js";

const KEPT_CHARACTERS = 4_096;

export class NodePrograms implements Programs {
  run({ program, args, environment, withinMs }: ProgramRun): Promise<ProgramEnd> {
    return new Promise((resolve, reject) => {
      const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...environment } });
      let isLate = false;
      let [output, errors] = ["", ""];
      child.stdout.on("data", (chunk: Buffer) => {
        output = `${output}${chunk}`.slice(-KEPT_CHARACTERS);
      });
      child.stderr.on("data", (chunk: Buffer) => {
        errors = `${errors}${chunk}`.slice(-KEPT_CHARACTERS);
      });
      const timer = setTimeout(() => {
        isLate = true;
        child.kill("SIGKILL");
        // What it started may hold the pipes for ever.
        child.stdout.destroy();
        child.stderr.destroy();
      }, withinMs);
      child.once("error", (error) => {
        clearTimeout(timer);
        reject(new OperatingError("UNAVAILABLE", `${program} could not be run: ${messageOf(error)}`, { cause: error }));
      });
      child.once("close", (code, signal) => {
        clearTimeout(timer);
        resolve({ code, signal, isLate, output, errors });
      });
    });
  }
}
