/**
 * Exact decimal fractions for INCRBYFLOAT. Redis adds in the floating point of its machine; a value that travels between
 * nodes must come out the same on each, so we add as one adds on paper: digits and a scale, in bigints. Results keep 17
 * digits behind the point, as Redis's do. Pure.
 */

/** `digits` divided by 10^`scale`. */
export interface Decimal {
  readonly digits: bigint;
  /** At least 0. */
  readonly scale: number;
}

/** Longer texts are refused unread, as in Redis. */
const TEXT_LENGTH_MAX = 5_119;
/** Digits in front of the point; larger magnitudes count as infinite. About the range of Redis's numbers. */
const WHOLE_DIGITS_MAX = 4_932;
/** Smaller magnitudes are refused, as Redis refuses what underflows. */
const LEADING_ZEROS_MAX = 4_950;
/** Digits behind the point that results keep. */
const SCALE_MAX = 17;

const FINITE = /^([+-]?)([0-9]*)(?:\.([0-9]*))?(?:e([+-]?[0-9]+))?$/i;
const INFINITE = /^[+-]?inf(?:inity)?$/i;

/** The number that the text stands for: decimal or scientific notation, without any space. Null when it is none. */
export function parseDecimal(text: string): Decimal | "infinite" | null {
  if (text.length === 0 || text.length > TEXT_LENGTH_MAX) return null;
  const parts = FINITE.exec(text);
  if (parts === null) return INFINITE.test(text) ? "infinite" : null;
  const [, sign = "", whole = "", fraction = "", exponentText = "0"] = parts;
  if (whole.length + fraction.length === 0) return null;
  const magnitude = BigInt(whole + fraction);
  if (magnitude === 0n) return { digits: 0n, scale: 0 };
  const exponent = Number(exponentText);
  const wholeDigits = String(magnitude).length - fraction.length + exponent;
  if (wholeDigits > WHOLE_DIGITS_MAX || wholeDigits < -LEADING_ZEROS_MAX) return null;
  const digits = sign === "-" ? -magnitude : magnitude;
  const scale = fraction.length - exponent;
  return scale >= 0 ? { digits, scale } : { digits: digits * 10n ** BigInt(-scale), scale: 0 };
}

export function addDecimals(a: Decimal, b: Decimal): Decimal {
  const scale = Math.max(a.scale, b.scale);
  return { digits: raised(a, scale) + raised(b, scale), scale };
}

/** Fixed notation, rounded to 17 decimals (halves to the even digit), without trailing zeros; null when it is too large. */
export function formatDecimal(value: Decimal): string | null {
  const { digits, scale } = rounded(value);
  const isNegative = digits < 0n;
  const text = String(isNegative ? -digits : digits).padStart(scale + 1, "0");
  const whole = text.slice(0, text.length - scale);
  if (whole.length > WHOLE_DIGITS_MAX) return null;
  const fraction = text.slice(text.length - scale).replace(/0+$/, "");
  return `${isNegative ? "-" : ""}${whole}${fraction === "" ? "" : `.${fraction}`}`;
}

function raised(value: Decimal, scale: number): bigint {
  return value.digits * 10n ** BigInt(scale - value.scale);
}

function rounded(value: Decimal): Decimal {
  if (value.scale <= SCALE_MAX) return value;
  const unit = 10n ** BigInt(value.scale - SCALE_MAX);
  const magnitude = value.digits < 0n ? -value.digits : value.digits;
  const below = magnitude / unit;
  const rest = 2n * (magnitude % unit);
  // Halves go to the even digit, so that a sum and its negation round alike and meet at 0.
  const isUp = rest > unit || (rest === unit && below % 2n === 1n);
  const digits = isUp ? below + 1n : below;
  return { digits: value.digits < 0n ? -digits : digits, scale: SCALE_MAX };
}
