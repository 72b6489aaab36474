/**
 * The `RateLimit` field (draft-ietf-httpapi-ratelimit-headers): a structured list of quotas, each with what remains of it
 * and the seconds until it starts anew, `"burst";r=0;t=30`. Drafts before the eighth wrote one quota as pairs,
 * `limit=100, remaining=0, reset=30`; both are read.
 *
 * @internal
 */

/** The grammar of structured fields (RFC 9651, section 3), as far as this field can hold it. */
const key = String.raw`[a-z*][a-z\d_.*-]*`
const item = String.raw`(?:"(?:[ !#-[\]-~]|\\["\\])*"|[A-Za-z*][\w!#$%&'*+.^|~:/\x60-]*)`
const value = String.raw`(?:${item}|-?\d+(?:\.\d+)?|\?[01]|:[\w+/=]*:)`
const parameter = new RegExp(String.raw`; *(?<key>${key})(?:=(?<value>${value}))?`, "g")
const parameters = String.raw`(?:[ \t]*; *${key}(?:=${value})?)*`
const member = new RegExp(
  String.raw`[ \t]*(?:(?<pair>${key})=(?<number>\d+)|${item})(?<parameters>${parameters})[ \t]*(?<end>,|$)`,
  "y"
)

interface Quota {
  readonly remaining: string | undefined
  readonly reset: string | undefined
}

const quotaOf = (parameters: string): Quota => {
  const values = new Map<string, string>()
  for (const { groups } of parameters.matchAll(parameter)) values.set(groups!["key"]!, groups!["value"] ?? "?1")
  return { remaining: values.get("r"), reset: values.get("t") }
}

/** Each named quota, and the one that is spread over pairs; `undefined` for what is malformed. */
const quotasOf = (text: string): ReadonlyArray<Quota> | undefined => {
  const quotas: Array<Quota> = []
  const pairs = new Map<string, string>()
  member.lastIndex = 0
  for (let more = true; more;) {
    const groups = member.exec(text)?.groups
    if (groups === undefined) return undefined
    if (groups["pair"] === undefined) quotas.push(quotaOf(groups["parameters"]!))
    else pairs.set(groups["pair"], groups["number"]!)
    more = groups["end"] === ","
  }
  return [...quotas, { remaining: pairs.get("remaining"), reset: pairs.get("reset") }]
}

const digits = /^\d+$/

/** A quota that is not used up refuses nothing: when it starts anew is no reason to wait. */
export const isUsedUp = (remaining: string | undefined): boolean =>
  remaining === undefined || !digits.test(remaining) || Number(remaining) === 0

/** Milliseconds until the last of the quotas that are used up starts anew; `undefined` for none, or what is malformed. */
export const waitMillis = (text: string): number | undefined => {
  const resets = quotasOf(text)?.flatMap(({ remaining, reset }) =>
    reset !== undefined && isUsedUp(remaining) ? [reset] : []
  )
  return resets === undefined || resets.length === 0 || !resets.every((reset) => digits.test(reset))
    ? undefined
    : Math.max(...resets.map(Number)) * 1_000
}
