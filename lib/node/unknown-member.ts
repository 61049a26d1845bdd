/** What operators are told of a name that no member has. */
const SHOWN_MAX = 64;

/** `kind`: `member`, or `other member`. Long names are cut short: what nobody is called need not be repeated whole. */
export function unknownMember(kind: "member" | "other member", name: string): string {
  const shown = name.length > SHOWN_MAX ? `${name.slice(0, SHOWN_MAX)}...` : name;
  return `there is no ${kind} called ${shown} (kindred status lists them)`;
}
