// Pounds as exact decimals: whole pence in a bigint, never a float.

/** pence reads pounds as they stand in JSON or a form ("4.99", "5"); null for what has parts of a penny or is no plain number. */
export function pence(pounds: string): bigint | null {
  const parts = /^(-?)(\d+)(?:\.(\d+))?$/.exec(pounds);
  if (!parts) return null;
  const fraction = parts[3] ?? "";
  if (/[1-9]/.test(fraction.slice(2))) return null;
  const amount = BigInt((parts[2] ?? "0") + fraction.slice(0, 2).padEnd(2, "0"));
  return parts[1] === "-" ? -amount : amount;
}

/** pasted takes from a price what people and other programs put round its digits: spaces, a pound sign, commas between thousands. */
export function pasted(price: string): string {
  const bare = price.replace(/[\s\u200e\u200f\u202a-\u202e\u2066-\u2069]+/g, "").replace(/^(-?)£|^(-?)GBP|GBP$/i, "$1$2");
  return /^-?\d{1,3}(,\d{3})+(\.\d*)?$/.test(bare) ? bare.replace(/,/g, "") : bare;
}

/** money writes pounds for people: £1,234.50. What is no amount stays as it is. */
export function money(pounds: string): string {
  const amount = pence(pounds);
  if (amount === null) return pounds;
  const digits = (amount < 0n ? -amount : amount).toString().padStart(3, "0");
  return `${amount < 0n ? "-" : ""}£${thousands(digits.slice(0, -2))}.${digits.slice(-2)}`;
}

/** thousands puts commas between groups of three digits. */
export function thousands(digits: string): string {
  return digits.replace(/\B(?=(\d{3})+$)/g, ",");
}
