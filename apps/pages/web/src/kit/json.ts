// JSON whose numbers keep their digits. JSON.parse makes a binary float of every number: 0.1 + 0.2 would not be 0.3, and
// a price of 16 digits would be another. Here a number is the text that stood there.

/** A number as it stands in JSON. */
export class NumberText {
  constructor(readonly text: string) {}
  toString(): string {
    return this.text;
  }
}

export type Json = null | boolean | string | NumberText | Json[] | { [name: string]: Json };

const space = /[ \t\n\r]*/y;
const string = /"(?:[^"\\\u0000-\u001f]|\\.)*"/y;
const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const word = /true|false|null/y;

const whole = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** numberText returns what a person typed as a JSON number, or null if it is none. "+3", ".5" and "1." are understood. */
export function numberText(typed: string): NumberText | null {
  let text = typed.trim().replace(/^\+/, "").replace(/\u2212/g, "-");
  text = text.replace(/^(-?)\./, "$10.").replace(/\.(?=$|[eE])/, "").replace(/^(-?)0+(?=\d)/, "$1");
  return whole.test(text) ? new NumberText(text) : null;
}

/** parse reads JSON text; it throws a SyntaxError where JSON.parse would. */
export function parse(text: string): Json {
  let at = 0;
  const fail = (): never => {
    throw new SyntaxError(`malformed JSON at character ${at}`);
  };
  const take = (what: RegExp): string | null => {
    what.lastIndex = at;
    const found = what.exec(text);
    if (!found) return null;
    at = what.lastIndex;
    return found[0];
  };
  const skip = () => take(space);
  const eat = (mark: string): boolean => {
    skip();
    if (text[at] !== mark) return false;
    at++;
    return true;
  };
  const quoted = (): string => {
    skip();
    return JSON.parse(take(string) ?? fail()) as string;
  };
  const value = (): Json => {
    skip();
    if (eat("{")) {
      const object: { [name: string]: Json } = Object.create(null) as { [name: string]: Json };
      if (eat("}")) return object;
      do {
        const name = quoted();
        if (!eat(":")) fail();
        object[name] = value();
      } while (eat(","));
      if (!eat("}")) fail();
      return object;
    }
    if (eat("[")) {
      const list: Json[] = [];
      if (eat("]")) return list;
      do list.push(value());
      while (eat(","));
      if (!eat("]")) fail();
      return list;
    }
    if (text[at] === '"') return quoted();
    const literal = take(word);
    if (literal !== null) return literal === "null" ? null : literal === "true";
    return new NumberText(take(number) ?? fail());
  };
  const read = value();
  skip();
  if (at !== text.length) fail();
  return read;
}

/** encode writes JSON text. */
export function encode(value: Json): string {
  if (value instanceof NumberText) return value.text;
  if (Array.isArray(value)) return `[${value.map(encode).join(",")}]`;
  if (value !== null && typeof value === "object") {
    return `{${Object.entries(value).map(([name, member]) => `${JSON.stringify(name)}:${encode(member)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}
