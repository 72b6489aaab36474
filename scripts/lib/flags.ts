/** A flag that is a number; `undefined` is the default. Throws: a number that is none must not end a run before it begins. */
export const numberOf = (flag: string, text: string | undefined, otherwise: number): number => {
  const number = text === undefined ? otherwise : Number(text.trim() === "" ? "none" : text)
  if (Number.isFinite(number) && number > 0) return number
  throw new RangeError(`--${flag} must be a number above 0, got ${JSON.stringify(text)}`)
}
