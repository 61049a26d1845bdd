/**
 * The configuration of a running node: what it was started with, and what CONFIG SET has changed since. Components are
 * handed views of it that are kept up to date; what has to act on a change subscribes.
 */
import type { Glob } from "../commands/glob.js";
import { IMMUTABLE, type RuntimeSettings, type SettingRefusal, type SettingValue } from "../commands/runtime-settings.js";
import { allSettings, type Config, findSetting } from "../config.js";
import { OperatingError, RefusedValue } from "../errors.js";

type Mutable<Values> = { -readonly [Key in keyof Values]: Values[Key] };

/** `databases` holds settings of single databases here, but clients ask CONFIG GET databases how many there are. */
const HIDDEN = "databases";

export class LiveConfig implements RuntimeSettings {
  readonly #values: Mutable<Config>;
  readonly #listeners = new Map<string, (config: Config) => void>();
  readonly #refreshers: (() => void)[] = [];

  constructor(config: Config) {
    this.#values = { ...config };
  }

  /** The current values; reading a field later gives the value of then. */
  get values(): Config {
    return this.#values;
  }

  /**
   * What a layer reads of the configuration: made now, and brought up to date after each CONFIG SET. Plain fields, because
   * layers read them for each request, and the object of all settings is too large for V8 to give it a shape.
   */
  view<View extends object>(of: (config: Config) => View): View {
    const view = of(this.#values);
    this.#refreshers.push(() => Object.assign(view, of(this.#values)));
    return view;
  }

  /** Calls `apply` with the new values whenever the named setting changes. One listener a setting. */
  onChange(name: string, apply: (config: Config) => void): void {
    this.#listeners.set(name, apply);
  }

  list(glob: Glob): readonly SettingValue[] {
    return allSettings()
      .filter(({ name }) => name !== HIDDEN && glob.matches(name))
      .map(({ name }) => ({ name, value: this.get(name)! }));
  }

  get(name: string): string | null {
    const found = name === HIDDEN ? null : findSetting(name);
    return found === null ? null : found.setting.format(this.#values[found.key]);
  }

  set(changes: readonly SettingValue[]): SettingRefusal | null {
    const parsed: Partial<Mutable<Record<keyof Config, unknown>>> = {};
    for (const { name, value } of changes) {
      const found = findSetting(name);
      if (found === null) return { kind: "unknown", name };
      if (found.setting.change === "at start") {
        // What a client read with CONFIG GET it can set again; there is nothing to do.
        if (isSame(found.setting, value, this.get(name))) continue;
        return { kind: "refused", name, reason: IMMUTABLE };
      }
      try {
        parsed[found.key] = found.setting.parse(value);
      } catch (error) {
        if (error instanceof RefusedValue) return { kind: "refused", name, reason: error.redisReason };
        if (error instanceof OperatingError) return { kind: "refused", name, reason: error.message };
        throw error;
      }
    }
    Object.assign(this.#values, parsed);
    for (const refresh of this.#refreshers) refresh();
    for (const { name } of changes) this.#listeners.get(name)?.(this.#values);
    return null;
  }

  rewrite(): "no file" {
    return "no file";
  }
}

type FoundSetting = NonNullable<ReturnType<typeof findSetting>>["setting"];

/** Whether a text stands for the value in force, whatever its unit. */
function isSame(setting: FoundSetting, text: string, formatted: string | null): boolean {
  if (text === formatted) return true;
  try {
    return setting.format(setting.parse(text)) === formatted;
  } catch {
    return false;
  }
}
