import { assert, describe, it } from "@effect/vitest"
import { Timeline } from "@rego/core"
import { Schema } from "effect"
import * as Arbitrary from "effect/Arbitrary"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { pick, property } from "./arbitraries.ts"

const race = new Timeline.Timeline({
  key: "prices.Get",
  policyRevision: "7",
  policySource: "live",
  startedAt: 5_000,
  endedAt: 5_400,
  attempts: [
    new Timeline.AttemptRecord({
      attempt: { retry: 0, hedge: 0 },
      startedAt: 5_000,
      endedAt: 5_010,
      endedBy: "returned",
      outcome: "Retryable",
      reason: "http_503",
      error: "Error: busy"
    }),
    new Timeline.AttemptRecord({
      attempt: { retry: 1, hedge: 0 },
      startedAt: 5_100,
      endedAt: 5_400,
      endedBy: "interrupted_loser",
      backoffBefore: 90
    }),
    new Timeline.AttemptRecord({
      attempt: { retry: 1, hedge: 1 },
      startedAt: 5_200,
      endedAt: 5_400,
      endedBy: "returned",
      outcome: "Success"
    })
  ],
  decisions: [{ _tag: "BackoffScheduled", at: 5_010, delay: 90 }],
  result: "success",
  attributes: {}
})

const withText = (text: string): Timeline.Timeline =>
  new Timeline.Timeline({
    ...race,
    key: text,
    policyRevision: text,
    attempts: race.attempts.map((it) => new Timeline.AttemptRecord({ ...it, reason: text, error: text })),
    decisions: [{ _tag: "Denied", at: 5_010, kind: "hedge", budget: text, reason: "other", detail: text, count: 1 }],
    attributes: { override: text, policyAge: text, droppedAttempts: text }
  })

/** What a strict reader of XML objects to: unknown elements and attributes, bad nesting, raw characters. */
const objections = (svg: string): ReadonlyArray<string> => {
  const open: Array<string> = []
  const found: Array<string> = []
  const rest = svg.replaceAll(
    /<(?<end>\/?)(?<name>\w+)(?<attributes>(?: \w[\w-]*="[^"<]*")*)(?<empty>\/?)>/g,
    (...all) => {
      const { attributes, empty, end, name } = all.at(-1) as Record<"attributes" | "empty" | "end" | "name", string>
      if (!/^(?:svg|title|desc|style|g|text|line|rect|circle)$/.test(name)) found.push(`element ${name}`)
      if (/ (?:on\w*|href|src|style)=/.test(attributes)) found.push(`attribute in ${attributes}`)
      if (end === "/" && open.pop() !== name) found.push(`</${name}> closes another element`)
      if (end === "" && empty === "") open.push(name)
      return ""
    }
  )
  const bad = /[<\p{Cc}\p{Cs}]|&(?!amp;|lt;|gt;|quot;|#39;)/u.exec(rest)
  return [...found, ...open.map((name) => `${name} is not closed`), ...bad === null ? [] : [`raw ${bad[0]}`]]
}

const hostile = [
  "<script>alert(1)</script>",
  "</title></svg><img src=x onerror=alert(1)>",
  "\" onload=\"alert(1)",
  "' onload='alert(1)",
  "]]><!--&lt;&#60;",
  "\u0000\u001b[2J\u202E\uD800 \u2028",
  "url(https://elsewhere.example/x)"
]

const boxes = (svg: string, fate: string) =>
  [...svg.matchAll(new RegExp(`<rect class="${fate}" x="([\\d.]+)" y="\\d+" width="([\\d.]+)"`, "g"))].map((found) =>
    found.slice(1).map(Number)
  )

describe("Timeline.toSvg", () => {
  it("draws each attempt to scale on the time of the call, and the wait before it", () => {
    const svg = Timeline.toSvg(race)
    // 560 units for 400 ms, from 150 on
    assert.deepStrictEqual(boxes(svg, "failure"), [[150, 14]])
    assert.deepStrictEqual(boxes(svg, "lost"), [[290, 420]])
    assert.deepStrictEqual(boxes(svg, "success"), [[430, 280]])
    assert.include(svg, `<line class="wait" x1="164" x2="290"`)
  })

  it("is this picture, to the character, and as text these lines", () => {
    const kept = (name: string) => readFileSync(join(import.meta.dirname, "fixtures", name), "utf8")
    const attempt = (retry: number, hedge: number, fields: object) =>
      new Timeline.AttemptRecord({ attempt: { retry, hedge }, startedAt: 0, endedBy: "returned", ...fields })
    const everything = new Timeline.Timeline({
      ...race,
      policySource: "stale",
      endedAt: 9_000,
      attributes: { override: "prices.*", policyAge: "75", droppedAttempts: "2" },
      attempts: [
        ...race.attempts,
        attempt(2, 0, {
          startedAt: 6_000,
          endedAt: 7_250,
          endedBy: "timed_out",
          error: "a <b> & \"c\" 'd'",
          backoffBefore: 0
        }),
        attempt(2, 1, { startedAt: 6_100, endedAt: 7_300, endedBy: "interrupted_caller" }),
        attempt(2, 2, { startedAt: 6_200, endedBy: "abandoned" }),
        attempt(3, 0, { startedAt: 8_000, endedAt: 9_000, outcome: "NonRetryable", reason: "x".repeat(120) }),
        attempt(4, 0, { startedAt: 8_000, endedAt: 8_500, outcome: "Abort", reason: "gone" })
      ],
      decisions: [
        { _tag: "BackoffScheduled", at: 5_010, delay: 90, retryAfter: 50 },
        { _tag: "Denied", at: 5_500, kind: "hedge", reason: "other", detail: "no <more>", count: 3, retryAfter: 1_500 },
        { _tag: "Denied", at: 5_600, kind: "retry", reason: "throttled", budget: "own", count: 1 },
        { _tag: "Stopped", at: 9_000, reason: "attempts_exhausted" }
      ],
      result: "failure"
    })
    const none = new Timeline.Timeline({
      ...race,
      policySource: "missing",
      attempts: [],
      decisions: [],
      endedAt: 5_000
    })
    const timelines = [race, everything, none]
    assert.strictEqual(timelines.map(Timeline.toSvg).join("\n"), kept("waterfall.svg"))
    assert.strictEqual(timelines.map(Timeline.render).join("\n\n"), kept("waterfall.txt"))
  })

  it("has four to ten lines for the time, at round steps", () => {
    const steps: ReadonlyArray<readonly [total: number, step: number]> = [
      [0.4, 0.1],
      [7, 1],
      [8, 2],
      [19, 2],
      [20, 5],
      [39, 5],
      [40, 10],
      [400, 100],
      [790, 100],
      [800, 200],
      [999, 200]
    ]
    for (const [total, step] of steps) {
      const svg = Timeline.toSvg(new Timeline.Timeline({ ...race, startedAt: 0, endedAt: total }))
      const lines = [...svg.matchAll(/class="soft" text-anchor="middle">([\d.]+)ms</g)].map(([, at]) => Number(at))
      const count = Math.floor(total / step + 1e-9) + 1
      assert.deepStrictEqual(lines, Array.from({ length: count }, (_, i) => Number((i * step).toFixed(1))), `${total}`)
    }
  })

  it("draws within the time of the call what began when it ended", () => {
    const late = new Timeline.AttemptRecord({ ...race.attempts[2]!, startedAt: 5_400 })
    const svg = Timeline.toSvg(new Timeline.Timeline({ ...race, attempts: [late] }))
    // 150 + 560 is the right edge, and a bar is 3 wide at least
    assert.deepStrictEqual(boxes(svg, "success"), [[707, 3]])
  })

  it("shows a verdict of 34 characters, a longer one shortened, and no empty one", () => {
    const drawn = (fields: object) =>
      Timeline.toSvg(
        new Timeline.Timeline({ ...race, attempts: [new Timeline.AttemptRecord({ ...race.attempts[0]!, ...fields })] })
      )
    const verdictIn = (svg: string) => /<text x="724"[^>]*>([^<]*)</.exec(svg)![1]
    const long = "Retryable ".length
    assert.strictEqual(verdictIn(drawn({ reason: "x".repeat(34 - long) })), `Retryable ${"x".repeat(34 - long)}`)
    assert.strictEqual(verdictIn(drawn({ reason: "x".repeat(35 - long) })), `Retryable ${"x".repeat(33 - long)}…`)
    const { outcome: _, reason: __, ...unjudged } = race.attempts[0]!
    const svg = Timeline.toSvg(
      new Timeline.Timeline({ ...race, attempts: [new Timeline.AttemptRecord(unjudged)], decisions: [] })
    )
    assert.include(svg, "<title>first: 0ms + 10ms Error: busy</title>")
  })

  it("says in words what it shows", () => {
    const svg = Timeline.toSvg(race)
    assert.include(svg, "role=\"img\"")
    assert.include(svg, "<title>prices.Get: success after 400ms, 3 attempts, policy live 7</title>")
    assert.include(
      svg,
      "<desc>first: from 0ms to 10ms, Retryable http_503, Error: busy. retry 1: from 100ms to 400ms, (interrupted_loser). " +
        "retry 1 hedge 1: from 200ms to 400ms, Success (won). At 10ms: wait 90ms. " +
        "wasted: 300ms in 1 attempt whose answer came too late or never.</desc>"
    )
  })

  it("refers to nothing outside of it", () => {
    const svg = Timeline.toSvg(race).replace("xmlns=\"http://www.w3.org/2000/svg\"", "")
    assert.notMatch(svg, /https?:|url\(|@import|href|<script|<foreignObject/)
    assert.include(svg, `<style>${Timeline.svgStyle}</style>`)
    assert.include(Timeline.svgStyle, "prefers-color-scheme:dark")
  })

  it("counts attempts without a record, where a number says how many", () => {
    const titleWith = (droppedAttempts: string) =>
      /<title>.*?<\/title>/.exec(
        Timeline.toSvg(new Timeline.Timeline({ ...race, attributes: { droppedAttempts } }))
      )![0]
    assert.include(titleWith("4"), " 7 attempts (4 not kept),")
    for (const none of ["many", "-1", "1e400", ""]) assert.include(titleWith(none), " 3 attempts,")
  })

  for (const text of hostile) {
    it(`stays a picture when everything is called ${JSON.stringify(text)}`, () => {
      assert.deepStrictEqual(objections(Timeline.toSvg(withText(text))), [])
    })
  }

  property("is well-formed whatever the timeline says", {
    timeline: Arbitrary.schema(Timeline.Timeline),
    text: Arbitrary.schema(Schema.String),
    worst: pick(hostile)
  }, ({ text, timeline, worst }) => {
    assert.deepStrictEqual(objections(Timeline.toSvg(timeline)), [])
    assert.deepStrictEqual(objections(Timeline.toSvg(withText(text + worst))), [])
  })

  it("notices an element, an attribute and a character that do not belong there", () => {
    assert.deepStrictEqual(objections("<svg><script></script></svg>"), ["element script", "element script"])
    assert.deepStrictEqual(objections("<svg><g onload=\"x\"></g>"), ["attribute in  onload=\"x\"", "svg is not closed"])
    assert.deepStrictEqual(objections("<svg>a & b</svg>"), ["raw &"])
  })

  it("draws a call without attempts, and one that took no time or whose stamps make no sense", () => {
    for (const endedAt of [race.startedAt, 0, Infinity, NaN]) {
      const svg = Timeline.toSvg(new Timeline.Timeline({ ...race, endedAt }))
      assert.deepStrictEqual(objections(svg), [])
      assert.notMatch(svg, /(?:x|y|width|height)="(?:NaN|-|Infinity)/)
    }
    assert.deepStrictEqual(objections(Timeline.toSvg(new Timeline.Timeline({ ...race, attempts: [] }))), [])
  })
})
