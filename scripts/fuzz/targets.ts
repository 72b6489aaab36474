/** Everything of ours that reads what strangers write, each with what must hold of any input. */
import * as DocumentText from "@rego/control-plane/DocumentText"
import { Explanation, PolicyDocument, PolicyKey, PolicyReview, Timeline } from "@rego/core"
import { ServerHints } from "@rego/http"
import { Duration, Effect, Exit, Option, Result } from "effect"
import * as SavedText from "../../packages/control-plane/src/SavedText.ts"
import * as Pushback from "../../packages/grpc/src/Pushback.ts"
import * as RetryInfo from "../../packages/grpc/src/RetryInfo.ts"
import * as Timeout from "../../packages/grpc/src/Timeout.ts"
import { commandLine } from "./commandLine.ts"
import { must, type Target } from "./engine.ts"

const bytesOf = (input: string): Uint8Array => Buffer.from(input, "latin1")

/** The answer must not depend on how long a list is, or everything is new. */
const kinds = (texts: ReadonlyArray<string>): string => [...new Set(texts)].toSorted().join(" ")

// -----------------------------------------------------------------------------
// documents and files
// -----------------------------------------------------------------------------

const pathKind = (path: ReadonlyArray<PropertyKey>): string =>
  path.map((part) => /^[a-zA-Z]+$/.test(String(part)) ? String(part) : "*").join(".")

const checkAccepted = (document: PolicyDocument.PolicyDocument): void => {
  const again = PolicyReview.review(PolicyDocument.encode(document))
  must(
    Option.isSome(again.document),
    `an accepted document is refused when it is read again: ${again.issues.map(PolicyReview.formatIssue).join("; ")}`
  )
  must(again.clamped.length === 0, "an accepted document is clamped once more")
  for (const pattern of Object.keys(document.policies).slice(0, 3)) Explanation.make(document, pattern)
}

const review = (json: unknown): string => {
  const { clamped, document, ignored, issues, warnings } = PolicyReview.review(json)
  must(Option.isSome(document) !== issues.length > 0, "a document is accepted or has issues, and never both")
  for (const issue of [...issues, ...ignored]) must(PolicyReview.formatIssue(issue).length > 0, "an issue says nothing")
  if (Option.isSome(document)) checkAccepted(document.value)
  const says = [
    ...issues.map(({ path }) => `no:${pathKind(path)}`),
    ...clamped.map(({ path }) => `less:${pathKind(path)}`)
  ]
  return `${document._tag} ${kinds(says)} ${kinds(warnings.map(({ rule }) => rule))}`
}

const quoted = (words: string): ReadonlyArray<string> => words.split(" ").map((word) => `"${word}"`)

const document: Target = {
  name: "document",
  corpus: "packages/core/test/corpus/document",
  words: [
    ...quoted("policies defaults budgets off hedgeOff rollout retry timeout hedge trigger backoff __proto__"),
    ...quoted("exponential constant decorrelated quantile ratio concurrency infinity"),
    "\"1 second\"",
    "\"0 millis\"",
    "\"-1 second\"",
    "null",
    "true",
    "[]",
    "{}",
    "1e9"
  ],
  // what `rego check` does with a file, what a source does with a body
  run: (input) =>
    Result.match(DocumentText.fromBytes(bytesOf(input)), {
      onFailure: (rule) => `not read: ${rule.replaceAll(/\d+|".*"|'.*'/g, "")}`.slice(0, 40),
      onSuccess: review
    })
}

const saved: Target = {
  name: "saved",
  corpus: "packages/control-plane/test/corpus/saved",
  words: ["\"format\"", "\"savedAt\"", "\"sha256\"", "\"document\"", "1", "null", "{}"],
  run: (input) =>
    Result.match(SavedText.decode(input, {}), {
      onFailure: (rule) => rule,
      onSuccess: ({ savedAt }) => {
        must(Number.isFinite(savedAt), "a time that is no number")
        return "read"
      }
    })
}

const timeline: Target = {
  name: "timeline",
  corpus: "packages/core/test/corpus/timeline",
  words: ["\"attempts\"", "\"decisions\"", "\"_tag\"", "\"Stopped\"", "\"key\"", "null", "[]", "{}", "-1", "1e308"],
  run: (input) => {
    let json: unknown
    try {
      json = JSON.parse(input)
    } catch {
      return "no JSON"
    }
    const exit = Effect.runSyncExit(Timeline.fromJson(json))
    if (Exit.isSuccess(exit)) {
      must(Timeline.render(exit.value).length > 0, "nothing is drawn")
      must(Timeline.toSvg(exit.value).startsWith("<svg"), "no picture")
      return `read ${exit.value.attempts.length > 0} ${exit.value.decisions.length > 0}`
    }
    const [reason] = exit.cause.reasons
    must(reason?._tag === "Fail", `it dies: ${String(exit.cause)}`)
    return "refused"
  }
}

// -----------------------------------------------------------------------------
// keys
// -----------------------------------------------------------------------------

const key: Target = {
  name: "key",
  corpus: "packages/core/test/corpus/key",
  words: [
    "users",
    ".",
    "/",
    ":",
    "*",
    "123456",
    "deadbeefdeadbeef1",
    "00000000-0000-4000-8000-000000000000",
    "_overflow"
  ],
  run: (input) => {
    const problems = PolicyKey.problems(input)
    must(PolicyKey.isValid(PolicyKey.overflowOf(input)), "the key of an overflow is refused itself")
    if (problems.length > 0) return kinds(problems.map((problem) => problem.slice(0, 12)))
    const made = PolicyKey.make(input)
    must(PolicyKey.make(made) === made, "a key is not the key of itself")
    must(made.startsWith(PolicyKey.namespace(made)), "the namespace is not the beginning")
    return `key ${PolicyKey.namespace(made) !== ""} ${made === input}`
  }
}

// -----------------------------------------------------------------------------
// headers and trailers
// -----------------------------------------------------------------------------

const NOW = Date.UTC(2026, 0, 1)

/** One field in a line, as in a request: `name: value`. */
const fieldsOf = (input: string): Record<string, string> =>
  Object.fromEntries(
    input.split("\n").flatMap((line) => {
      const colon = line.indexOf(":")
      return colon < 0 ? [] : [[line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1)]]
    })
  )

const headers: Target = {
  name: "headers",
  corpus: "packages/http/test/corpus/headers",
  words: [
    "retry-after",
    "retry-after-ms",
    "ratelimit",
    "ratelimit-reset",
    "ratelimit-remaining",
    "x-ratelimit-reset",
    "date",
    "age",
    "x-should-retry",
    "true",
    "Thu, 01 Jan 2026 00:00:10 GMT",
    "Thursday, 01-Jan-26 00:00:10 GMT",
    ";r=0;t=5",
    "Thu Jan  1 00:00:10 2026",
    "x-ratelimit-remaining",
    "\"default\"",
    "1767225610",
    "1767225610000",
    "\n",
    ":"
  ],
  run: (input) => {
    const { field, retry, retryAfter } = ServerHints.read(fieldsOf(input), NOW)
    if (retryAfter === undefined) return `${String(field)} ${String(retry)}`
    const millis = Duration.toMillis(retryAfter)
    must(Number.isInteger(millis) && millis >= 0 && millis <= 2 ** 31 * 1_000, `a wait of ${millis} ms`)
    return `${String(field)} ${String(retry)} ${millis === 0 ? "now" : millis < 1e6 ? "soon" : "late"}`
  }
}

const trailers: Target = {
  name: "trailers",
  corpus: "packages/grpc/test/corpus/trailers",
  words: ["0", "-1", "00", "2147483647", "2147483648", "1S", "99999999H", "5m", "u", "n", "+"],
  run: (input) => {
    const pushback = Pushback.parse(input)
    must(pushback === Infinity || (Number.isInteger(pushback) && pushback >= 0), `a pushback of ${pushback}`)
    const timeouts = [Timeout.ofGrpc, Timeout.ofConnect].map((format) => {
      const millis = format.parse(input)
      must(millis === undefined || (Number.isFinite(millis) && millis >= 0), `a timeout of ${millis}`)
      if (millis === undefined || millis < 1) return "none"
      const printed = format.parse(format.print(millis))
      must(printed !== undefined && printed <= millis, `${millis} ms became ${printed}`)
      return "some"
    })
    return `${pushback === Infinity ? "never" : "wait"} ${timeouts.join(" ")}`
  }
}

const details: Target = {
  name: "details",
  corpus: "packages/grpc/test/corpus/details",
  words: [
    "type.googleapis.com/google.rpc.RetryInfo",
    "\u001a",
    "\n",
    "\u0012",
    "\u0008",
    "\u00ff\u00ff\u00ff\u00ff\u000f",
    "\u0000"
  ],
  run: (input) => {
    const wait = RetryInfo.fromStatus(bytesOf(input))
    must(wait === undefined || (wait >= 0 && !Number.isNaN(wait)), `a wait of ${wait}`)
    return wait === undefined ? "none" : wait === 0 ? "now" : wait < 1e6 ? "soon" : "late"
  }
}

export const targets: ReadonlyArray<Target> = [
  document,
  saved,
  timeline,
  key,
  headers,
  trailers,
  details,
  commandLine
]
