/**
 * The wait in a `google.rpc.RetryInfo`, one of the details that a `google.rpc.Status` can carry.
 *
 * Only the few fields that lead there are read, straight from the wire format (protobuf.dev, "Encoding"): a dependency on a
 * protobuf library would weigh more than these lines, and users of grpc-js need not have one. The bytes are foreign input:
 * what is malformed in any place is no hint.
 *
 * @internal
 */

const typeName = "google.rpc.RetryInfo"

/** A length-delimited field is a view into the message, a varint a number; fixed ones are skipped. */
interface Field {
  readonly number: number
  readonly value: Uint8Array | bigint | undefined
}

const malformed = (): never => {
  throw new RangeError("malformed")
}

class Reader {
  private at = 0
  private readonly bytes: Uint8Array
  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  private varint(): bigint {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.bytes[this.at++] ?? malformed()
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
    return malformed()
  }

  private take(length: number): Uint8Array {
    const end = this.at + length
    if (end > this.bytes.length) malformed()
    const taken = this.bytes.subarray(this.at, end)
    this.at = end
    return taken
  }

  private value(wireType: bigint): Field["value"] {
    if (wireType === 0n) return this.varint()
    if (wireType === 2n) return this.take(Number(this.varint()))
    if (wireType !== 1n && wireType !== 5n) malformed()
    this.take(wireType === 1n ? 8 : 4)
    return undefined
  }

  *fields(): Generator<Field> {
    while (this.at < this.bytes.length) {
      const tag = this.varint()
      yield { number: Number(tag >> 3n), value: this.value(tag & 7n) }
    }
  }
}

const fieldsOf = (message: Uint8Array): ReadonlyArray<Field> => [...new Reader(message).fields()]

/** Of a field that is not repeated the last occurrence counts. */
const last = (fields: ReadonlyArray<Field>, number: number): Field["value"] =>
  fields.findLast((field) => field.number === number)?.value

const bytesIn = (fields: ReadonlyArray<Field>, number: number): Uint8Array => {
  const value = last(fields, number)
  return value instanceof Uint8Array ? value : new Uint8Array()
}

const integerIn = (fields: ReadonlyArray<Field>, number: number): number => {
  const value = last(fields, number)
  return typeof value === "bigint" ? Number(BigInt.asIntN(64, value)) : 0
}

const orNone = <A>(read: () => A): A | undefined => {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** A detail as Connect hands it over: the bare name of its type, and its bytes. */
export interface Detail {
  readonly type: string
  readonly value: Uint8Array
}

const delayOf = ({ type, value }: Detail): number | undefined => {
  if (type !== typeName) return undefined
  const retryDelay = last(fieldsOf(value), 1)
  if (!(retryDelay instanceof Uint8Array)) return undefined
  const duration = fieldsOf(retryDelay)
  return Math.max(0, integerIn(duration, 1) * 1_000 + integerIn(duration, 2) / 1e6)
}

/** Milliseconds to wait, the longest of all details: a server is never asked earlier than it wants. */
export const fromDetails = (details: ReadonlyArray<Detail>): number | undefined => {
  const delays = details.map((detail) => orNone(() => delayOf(detail))).filter((delay) => delay !== undefined)
  return delays.length === 0 ? undefined : Math.max(...delays)
}

const decoder = new TextDecoder()

/** `google.protobuf.Any` names its type by an address whose last segment is the name. */
const detailOf = (any: Uint8Array): Detail => {
  const fields = fieldsOf(any)
  return { type: decoder.decode(bytesIn(fields, 1)).replace(/^.*\//, ""), value: bytesIn(fields, 2) }
}

/** Milliseconds to wait, from the bytes of `grpc-status-details-bin`. */
export const fromStatus = (status: Uint8Array): number | undefined =>
  orNone(() => {
    const any = fieldsOf(status).filter((field) => field.number === 3)
    return fromDetails(any.flatMap(({ value }) => value instanceof Uint8Array ? [detailOf(value)] : []))
  })
