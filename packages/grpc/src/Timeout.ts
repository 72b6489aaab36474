/**
 * How a timeout stands in the headers of a request.
 *
 * @internal
 */

/** At most eight digits and a unit (gRPC over HTTP/2, "Timeout"). */
const grpc = /^(\d{1,8})([HMSmun])$/
const connect = /^\d{1,10}$/

const millisIn: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 }

const maxGrpcNumber = 99_999_999
const maxConnectNumber = 9_999_999_999

export interface Format {
  readonly header: string
  readonly parse: (text: string) => number | undefined
  readonly print: (millis: number) => string
}

/** Never longer than what is left; a server that is given nothing at all may take it for no limit. */
const whole = (millis: number): number => Math.max(1, Math.floor(millis))

export const ofGrpc: Format = {
  header: "grpc-timeout",
  parse: (text) => {
    const [, digits, unit] = grpc.exec(text) ?? []
    return digits === undefined ? undefined : Number(digits) * millisIn[unit!]!
  },
  print: (millis) => {
    const left = whole(millis)
    return left <= maxGrpcNumber ? `${left}m` : `${Math.min(maxGrpcNumber, Math.floor(left / 1_000))}S`
  }
}

export const ofConnect: Format = {
  header: "connect-timeout-ms",
  parse: (text) => connect.test(text) ? Number(text) : undefined,
  print: (millis) => String(Math.min(maxConnectNumber, whole(millis)))
}

/** The protocol of a request, as its content type says. */
export const formatOf = (contentType: string | null): Format =>
  contentType?.startsWith("application/grpc") === true ? ofGrpc : ofConnect
