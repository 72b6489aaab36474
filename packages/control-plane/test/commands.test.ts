/**
 * What commands print, without a process.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Explanation from "@rego/core/Explanation"
import * as PolicyReview from "@rego/core/PolicyReview"
import * as PolicySource from "@rego/core/PolicySource"
import { Option } from "effect"
import * as CheckCommand from "../src/CheckCommand.ts"
import * as CommandText from "../src/CommandText.ts"
import * as ExplainCommand from "../src/ExplainCommand.ts"
import * as WatchCommand from "../src/WatchCommand.ts"

const policies = (revision: string, users: object = {}, more: object = {}) => ({
  schemaVersion: "1.0",
  revision,
  policies: { "users.*": { retry: { maxAttempts: 3 }, timeout: { overall: "1 second" }, ...users } },
  ...more
})

const decoded = (json: unknown) => Option.getOrThrow(PolicyReview.review(json).document)

/** Through JSON and back: what a program reads. */
const read = (json: unknown): any => JSON.parse(JSON.stringify(json))

describe("CommandText", () => {
  it("stands cells under each other, and leaves the last one as long as it is", () => {
    assert.deepStrictEqual(CommandText.table([["a", "bb", "a long cell"], ["ccc", "d", "e"]]), [
      "  a    bb  a long cell",
      "  ccc  d   e"
    ])
  })

  it("shows what a terminal would obey, in text and in JSON, and keeps its own lines", () => {
    const revision = "1\u001b[2J\u009b1m\r\n2  accepted"
    assert.strictEqual(CommandText.printable("a\tb\nc"), "a\\u0009b\nc")
    assert.deepStrictEqual(JSON.parse(CommandText.printable(CommandText.json({ revision }))), { revision })
    const text = CheckCommand.render({ file: "a.json", review: PolicyReview.review(policies(revision)) })
    const [first = ""] = CommandText.printable(text).split("\n")
    assert.match(first, /^a\.json: accepted, revision "1\\u001b\[2J\\u009b1m\\r\\n2 {2}accepted", 1 entry$/)
  })

  it("counts in words", () => {
    assert.deepStrictEqual([0, 1, 2].map((n) => CommandText.count(n, "entry", "entries")), [
      "0 entries",
      "1 entry",
      "2 entries"
    ])
  })
})

describe("rego check", () => {
  const checked = (json: unknown) => ({ file: "a.json", review: PolicyReview.review(json) })

  it("says as JSON what it says as text", () => {
    const clamped = read(CheckCommand.toJson(checked(policies("1", { retry: { maxAttempts: 40 } }))))
    assert.deepInclude(clamped, { file: "a.json", accepted: true, revision: "1", issues: [], ignored: [] })
    assert.deepStrictEqual(clamped.clamped, [
      { path: ["policies", "users.*", "retry", "maxAttempts"], value: 40, limit: 10 }
    ])
    const refused = read(CheckCommand.toJson(checked(policies("2", { timeout: { overall: 0 } }))))
    assert.deepInclude(refused, { accepted: false, revision: "2", warnings: [] })
    assert.strictEqual(refused.issues[0].text, `policies["users.*"].timeout.overall: must be between 1ms and 1d, got 0`)
  })

  it("lists fields of a newer version, and the warnings of each entry", () => {
    const text = CheckCommand.render(checked(policies("1", {}, { schemaVersion: "1.7", mood: "good" })))
    assert.match(text, /ignored, of a newer version\n {4}mood: is not a field that is known here, got "good"\n/)
    assert.match(text, /warnings\n {4}users\.\* {2}idempotent_unstated {2}/)
  })

  it("says of what is no document that it is refused", () => {
    for (const json of [null, 7, [], "text"]) {
      assert.match(CheckCommand.render(checked(json)), /^a\.json: refused, \d issue/)
    }
  })
})

describe("rego explain", () => {
  const explained = (json: unknown, key = "users.Get", options?: Explanation.Options) =>
    Explanation.make(decoded(json), key, options)

  it("prints durations as milliseconds in JSON, and no end as null", () => {
    const endless = read(ExplainCommand.toJson(explained(policies("1", { timeout: "off" }))))
    assert.deepInclude(endless.worst, { attempts: 3, waits: [10, 20], duration: null })
    assert.deepStrictEqual(endless.budget.outage, { atFirst: 5, atOnce: 10, perSecond: 0.1 })
    assert.match(ExplainCommand.render(explained(policies("1", { timeout: "off" }))), /no end: an attempt that hangs/)
  })

  it("says of a key that no entry matches that it is not known", () => {
    assert.match(ExplainCommand.render(explained(policies("1"), "orders.Get")), /^orders\.Get.*\n {2}no entry matches/)
  })

  it("says of the worst case only what there is", () => {
    const worst = (json: unknown, key?: string, options?: Explanation.Options) =>
      ExplainCommand.render(explained(json, key, options)).split("\n\n").find((part) => part.startsWith("worst"))
    const single = worst(policies("1"), "orders.Get")?.split("\n").slice(1)
    const endless = "  time      no end: an attempt that hangs is never given up"
    assert.deepStrictEqual(single, ["  attempts  1, no hedges", "  waits     none", endless])
    assert.include(worst(policies("1")), "  attempts  3, no hedges\n  waits     10ms, 20ms at most by the backoff")
    const hedged = policies("1", { hedge: { trigger: { type: "after", delay: "50 millis" } } })
    assert.include(worst(hedged, "users.Get", { idempotent: true }), "  attempts  6: 3 attempts, each with 1 hedge")
  })

  it("says what is switched off", () => {
    const off = policies("1", {}, { off: ["users.*"] })
    assert.match(ExplainCommand.render(explained(off)), /switched off: everything/)
    assert.match(ExplainCommand.render(explained({ ...off, off: [], hedgeOff: ["*"] })), /switched off: hedges/)
    assert.notMatch(ExplainCommand.render(explained(policies("1"))), /switched off/)
  })

  it("says nothing of an outage where a budget does not tell", () => {
    const json = policies("1", { budget: "own" })
    assert.match(ExplainCommand.render(explained(json)), /denies {2}as the process decides that registers it/)
    assert.notMatch(ExplainCommand.render(explained(json)), /outage/)
  })
})

describe("rego watch", () => {
  const failure = PolicySource.failed(
    new PolicySource.SourceError({ source: "there", reason: { _tag: "Unavailable", detail: "no connection" } })
  )

  /** What is printed for a series of things that were found. */
  const printed = (...found: ReadonlyArray<PolicySource.Found>): ReadonlyArray<string> => {
    let state = WatchCommand.begin
    return found.flatMap((one) => {
      const [next, lines] = WatchCommand.onFound(state, one, "now")
      state = next
      return lines.map(WatchCommand.render)
    })
  }

  it("prints each document with what it changes, and what a live layer would refuse", () => {
    const cut = policies("3", { timeout: { overall: "10 millis" } })
    const lines = printed(
      PolicySource.document(policies("1", { retry: { maxAttempts: 4 } })),
      PolicySource.document(policies("2", { retry: { maxAttempts: 40 } })),
      PolicySource.document(cut),
      PolicySource.document(policies("4", { retry: { maxAttempts: 4 } }))
    )
    assert.match(lines[0] ?? "", /^now {2}accepted 1\n {2}users\.\*\n {4}known {2,}\(none\) → true\n/)
    assert.match(lines[1] ?? "", /retry\.maxAttempts {2}4 → 10\n {2}clamped policies\["users\.\*"\].*: 40 to 10$/)
    assert.match(lines[2] ?? "", /^now {2}refused 3\n {2}policies\["users\.\*"\]\.timeout\.overall: must not fall/)
    // compared with the one in force, not with the refused one
    assert.match(lines[3] ?? "", /^now {2}accepted 4\n {2}users\.\*\n {4}retry\.maxAttempts {2}10 → 4$/)
  })

  it("says once that a source fails, and again when it fails anew", () => {
    assert.deepStrictEqual(printed(failure, failure, PolicySource.unchanged, failure), [
      "now  failed: policy source there: unavailable, no connection",
      "now  failed: policy source there: unavailable, no connection"
    ])
  })
})
