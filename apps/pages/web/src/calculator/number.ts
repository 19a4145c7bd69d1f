import { numberText, type NumberText } from "../kit/json";

/** readNumber reads what a person typed as a number of the calculator's, or says what is wrong with it. The service decides; this spares a request. */
export function readNumber(typed: string): { number: NumberText } | { problem: string } {
  const number = numberText(typed);
  if (!number) return { problem: "Enter a number, such as 3 or -0.25." };
  if (!Number.isFinite(Number(number.text))) return { problem: "The number is outside of what a double can hold." };
  return { number };
}
