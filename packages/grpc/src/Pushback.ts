/**
 * What a server asks for with `grpc-retry-pushback-ms` (gRFC A6, "Pushback").
 *
 * @internal
 */

export const header = "grpc-retry-pushback-ms"

const integer = /^(?:0|-?[1-9]\d{0,9})$/
const maxInt32 = 2 ** 31 - 1

/**
 * Milliseconds to wait, exactly; `Infinity` for "do not retry". That is what a negative value says, and what A6 takes any
 * other text for: the value must be a signed 32-bit integer without unnecessary zeros.
 */
export const parse = (text: string): number => {
  const millis = integer.test(text) ? Number(text) : NaN
  return millis >= 0 && millis <= maxInt32 ? millis : Infinity
}
