import { assert, describe, it } from "@effect/vitest"
import { Duration, Schema } from "effect"
import * as Issue from "../src/Issue.ts"
import { json, property } from "./arbitraries.ts"

describe("Issue", () => {
  describe("formatPath", () => {
    it("prints a path the way JavaScript reads it", () => {
      assert.strictEqual(
        Issue.formatPath(["policies", "a.B", "retry", "maxAttempts"]),
        "policies[\"a.B\"].retry.maxAttempts"
      )
      assert.strictEqual(Issue.formatPath(["off", 2]), "off[2]")
      assert.strictEqual(Issue.formatPath([]), "")
    })
  })

  describe("formatAll", () => {
    it("gives each issue a line, with its path where it has one", () => {
      const issues = [{ path: ["a", "b"], message: "is wrong" }, { path: [], message: "Expected object, got 1" }]
      assert.strictEqual(Issue.formatAll(issues), "a.b: is wrong\nExpected object, got 1")
    })
  })

  describe("show", () => {
    it("tells apart what looks alike", () => {
      const values = [NaN, "NaN", Infinity, null, undefined, "", 0, "0", true, [], {}, { a: 1 }, Duration.seconds(1)]
      const shown = [
        "NaN",
        "\"NaN\"",
        "Infinity",
        "null",
        "undefined",
        "\"\"",
        "0",
        "\"0\"",
        "true",
        "[]",
        "{}",
        "{\"a\":1}"
      ]
      assert.deepStrictEqual(values.map(Issue.show), [...shown, "1s"])
    })

    it("cuts what is long to 80 characters", () => {
      const shown = Issue.show({ list: Array.from({ length: 1_000 }, (_, i) => i) })
      const source = Issue.show(new Function("return [" + "1,".repeat(500) + "]"))
      assert.isAtMost(source.length, 160)
      assert.strictEqual(shown.length, 80)
      assert.isTrue(shown.endsWith("..."))
      // a text of 160 characters, its quotes among them, is not too long
      const text = (length: number) => Issue.show("x".repeat(length - 2))
      assert.deepStrictEqual([text(160), text(161)], [
        `"${"x".repeat(158)}"`,
        `"${"x".repeat(156)}...`
      ])
    })

    it("shows what has no JSON: a cycle, a bigint inside, a toJSON that throws, deep nesting", () => {
      const cycle: Record<string, unknown> = {}
      cycle["self"] = cycle
      const throwing = {
        toJSON: () => {
          throw new Error("no")
        }
      }
      const deep: unknown = JSON.parse(`${"[".repeat(20_000)}${"]".repeat(20_000)}`)
      for (const value of [cycle, { big: 1n }, throwing, deep]) assert.isAtMost(Issue.show(value).length, 80)
    })
  })

  describe("parseDuration", () => {
    const parsed = (input: unknown) => {
      const result = Issue.parseDuration(input)
      return typeof result === "string" ? result : Duration.toMillis(result)
    }

    it("reads every form that people write", () => {
      const inputs = [
        250,
        "250 millis",
        "2 seconds",
        "1 minute",
        { seconds: 1, milliseconds: 5 },
        [1, 500_000],
        5_000_000n
      ]
      assert.deepStrictEqual(inputs.map(parsed), [250, 250, 2_000, 60_000, 1_005, 1_000.5, 5])
    })

    it("reads each unit of an object, and leaves out what is not stated", () => {
      const units = {
        weeks: 604_800_000,
        days: 86_400_000,
        hours: 3_600_000,
        minutes: 60_000,
        seconds: 1_000,
        milliseconds: 1,
        microseconds: 1e-3,
        nanoseconds: 1e-6
      }
      for (const [unit, millis] of Object.entries(units)) {
        assert.strictEqual(parsed({ [unit]: 3 }), 3 * millis, unit)
        assert.strictEqual(
          parsed({ [unit]: 3, seconds: undefined, ...(unit === "seconds" ? { seconds: 3 } : {}) }),
          3 * millis
        )
        assert.strictEqual(parsed({ [unit]: "3" }), `must be a duration, got {"${unit}":"3"}`)
      }
      assert.strictEqual(parsed({ seconds: undefined }), "must be a duration, got {}")
    })

    it("names NaN in each place where it can hide, because Duration would turn it into zero", () => {
      assert.strictEqual(parsed(NaN), "must be a duration, got NaN")
      assert.strictEqual(parsed({ seconds: NaN }), "must be a duration, got NaN")
      assert.strictEqual(parsed({ minutes: 1, seconds: NaN }), "must be a duration, got NaN")
      assert.strictEqual(parsed([NaN, 1]), "must be a duration, got [null,1]")
    })

    it("names the forms that are understood when the unit is wrong", () => {
      const forms = "must be a duration such as \"250 millis\", \"2 seconds\" or a number of milliseconds, got"
      for (const input of ["1 sec", "250ms", "250", "1 s", "1e3 millis", "NaN millis", ""]) {
        assert.strictEqual(parsed(input), `${forms} ${JSON.stringify(input)}`)
      }
      for (const input of [true, null, undefined]) assert.strictEqual(parsed(input), `${forms} ${String(input)}`)
    })

    it("refuses an object whose unit it does not know: it would be a wait of zero", () => {
      for (const input of [{ second: 5 }, { ms: 500 }, {}, { seconds: 1, millis: 5 }]) {
        const result = Issue.parseDuration(input)
        if (typeof result !== "string") assert.fail(`${JSON.stringify(input)} was read as ${Duration.format(result)}`)
      }
    })

    it("refuses arrays that are no pair of seconds and nanoseconds", () => {
      for (const input of [[], [1], [1, 2, 3], ["1", "2"]]) {
        assert.strictEqual(parsed(input), `must be a duration, got ${JSON.stringify(input)}`)
      }
    })

    property("never throws, and never answers with a duration that is NaN", { input: json }, ({ input }) => {
      const result = Issue.parseDuration(input)
      if (typeof result === "string") assert.isTrue(result.startsWith("must be a duration"))
      else assert.isFalse(Number.isNaN(Duration.toMillis(result)))
    }, 1_000)
  })

  describe("DurationFromInput", () => {
    const decode = Schema.decodeUnknownSync(Issue.DurationFromInput)
    const encode = Schema.encodeSync(Issue.DurationFromInput)

    it("is encoded as text that keeps every nanosecond", () => {
      const durations = [
        Duration.millis(250),
        Duration.nanos(1_500_001n),
        Duration.zero,
        Duration.days(365),
        Duration.infinity
      ]
      for (const duration of durations) {
        assert.typeOf(encode(duration), "string")
        assert.deepStrictEqual(decode(encode(duration)), duration)
      }
    })
  })

  describe("fromSchemaError", () => {
    const decode = Schema.decodeUnknownResult(
      Schema.Struct({ a: Issue.integerField(1, 3), b: Schema.String }),
      Issue.parseOptions
    )
    const issuesOf = (input: unknown) => {
      const result = decode(input)
      return result._tag === "Success" ? [] : Issue.fromSchemaError(result.failure)
    }

    it("reports every issue at once: values, missing and unknown fields", () => {
      assert.deepStrictEqual(issuesOf({ a: 9, c: true }), [
        { path: ["c"], message: "is not a field that is known here, got true" },
        { path: ["a"], message: "must be an integer between 1 and 3, got 9" },
        { path: ["b"], message: "is required, got nothing" }
      ])
    })

    it("has words also for a value that throws when it is looked at, or is deeper than the stack", () => {
      const throwing = () => {
        throw new Error("no")
      }
      const getter = Object.defineProperty({}, "x", { enumerable: true, get: throwing })
      const deep: unknown = JSON.parse(`${"[".repeat(20_000)}${"]".repeat(20_000)}`)
      for (const value of [getter, { toString: throwing }, new Proxy({}, { get: throwing, ownKeys: throwing }), deep]) {
        const [issue, ...others] = issuesOf({ a: 1, b: value })
        assert.deepStrictEqual(others, [])
        assert.deepStrictEqual(issue?.path, ["b"])
        assert.match(issue!.message, /^Expected string, got /)
      }
    })

    it("keeps a message short, however large the value is", () => {
      const large = Array.from({ length: 100_000 }, (_, i) => i)
      for (const input of [large, { a: large, b: "" }, { a: 1, b: "", c: large }]) {
        for (const issue of issuesOf(input)) assert.isAtMost(issue.message.length, 200)
      }
    })
  })
})
