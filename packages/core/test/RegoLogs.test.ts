import { assert, describe, it } from "@effect/vitest"
import { Observer, PolicyLayer, Rego, RegoLogs } from "@rego/core"
import { Effect, Layer, Logger, References } from "effect"
import { TestClock } from "effect/testing"
import { fails, script, succeeds } from "./support.ts"

interface Written {
  readonly level: string
  readonly message: string
  readonly annotations: Readonly<Record<string, unknown>>
}

const writing = (lines: Array<Written>): Logger.Logger<unknown, void> =>
  Logger.make(({ fiber, logLevel, message }) => {
    const annotations = fiber.getRef(References.CurrentLogAnnotations)
    lines.push({ level: logLevel, message: [message].flat().map(String).join(" "), annotations })
  })

const policies = { "*": { retry: { maxAttempts: 2 } } } as const

/** Calls under the logs, and what was written when they have ended and time has passed. */
const written = <E>(
  options: RegoLogs.Options,
  calls: Effect.Effect<void, E, PolicyProviderOf>,
  ...loggers: ReadonlyArray<Logger.Logger<unknown, void>>
) =>
  Effect.gen(function*() {
    const lines: Array<Written> = []
    const Logs = RegoLogs.layer(options).pipe(
      Layer.provide(Logger.layer([...loggers, writing(lines)])),
      Layer.provide(Layer.succeed(References.MinimumLogLevel, "All"))
    )
    yield* calls.pipe(Effect.provide(Layer.merge(Logs, PolicyLayer.make({ policies }))))
    return lines
  })

type PolicyProviderOf = Effect.Services<ReturnType<typeof failing>>

const make = <A, E>(effect: Effect.Effect<A, E>, key: string) =>
  Effect.gen(function*() {
    yield* Effect.forkChild(Effect.exit(Rego.resilient(effect, key)), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    yield* Observer.flush
  })

const failing = (key: string) => make(Effect.die(new Error("bug")), key)
const flaky = (key: string) => make(script(fails("503"), succeeds("ada")).effect, key)

describe("RegoLogs", () => {
  it.effect("writes one line for a call that was retried, and none for one that was not", () =>
    Effect.gen(function*() {
      const lines = yield* written({}, Effect.andThen(make(Effect.succeed(1), "a.A"), flaky("a.A")))
      assert.deepStrictEqual(lines.map(({ level, message }) => [level, message]), [
        ["Info", "rego a.A: success after 2 attempts"]
      ])
      assert.strictEqual(lines[0]?.annotations["rego.key"], "a.A")
      assert.strictEqual(lines[0]?.annotations["rego.retries"], 1)
    }))

  it.effect("writes a defect at its own level", () =>
    Effect.gen(function*() {
      const lines = yield* written({ levels: { defect: "Fatal" } }, failing("a.A"))
      assert.deepStrictEqual(lines.map(({ level, message }) => [level, message]), [
        ["Fatal", "rego a.A: failure after 1 attempt, non_retryable"]
      ])
    }))

  it.effect("writes at most so many lines of a key in a window, and says at its end how many it suppressed", () =>
    Effect.gen(function*() {
      const many = Effect.gen(function*() {
        for (let i = 0; i < 5; i++) yield* failing("a.A")
        yield* failing("b.B")
        yield* TestClock.adjust("1 minute")
        yield* failing("a.A")
      })
      const lines = yield* written({ maxLines: 2, window: "1 minute" }, many)
      assert.deepStrictEqual(lines.map(({ message }) => message), [
        "rego a.A: failure after 1 attempt, non_retryable",
        "rego a.A: failure after 1 attempt, non_retryable",
        "rego b.B: failure after 1 attempt, non_retryable",
        "rego a.A: 3 lines suppressed within 1m",
        "rego a.A: failure after 1 attempt, non_retryable"
      ])
    }))

  it.effect("says what it suppressed when its layer closes before the window does", () =>
    Effect.gen(function*() {
      const lines = yield* written({ maxLines: 1 }, Effect.andThen(failing("a.A"), failing("a.A")))
      assert.strictEqual(lines.at(-1)?.message, "rego a.A: 1 line suppressed within 1m")
    }))

  it.effect("goes on with the next window when a logger dies at the end of one", () =>
    Effect.gen(function*() {
      let deaths = 0
      const dies = Logger.make(({ message }) => {
        if (!String(message).includes("suppressed") || deaths > 0) return
        deaths++
        throw new Error("logger")
      })
      const twoInAWindow = Effect.gen(function*() {
        yield* failing("a.A")
        yield* failing("a.A")
        yield* TestClock.adjust("1 minute")
      })
      const windows = Effect.forEach([1, 2, 3], () => twoInAWindow, { discard: true })
      const lines = yield* written({ maxLines: 1 }, windows, dies)
      assert.strictEqual(deaths, 1)
      const [line, end] = ["rego a.A: failure after 1 attempt, non_retryable", "rego a.A: 1 line suppressed within 1m"]
      assert.deepStrictEqual(lines.map(({ message }) => message), [line, line, end, line, end])
    }))

  it.effect("writes at any level of a logger, and at the default where none is given", () =>
    Effect.gen(function*() {
      for (const level of ["Fatal", "Error", "Warn", "Info", "Debug", "Trace"] as const) {
        const lines = yield* written({ levels: { defect: level } }, failing("a.A"))
        assert.deepStrictEqual(lines.map((line) => line.level), [level])
      }
      assert.deepStrictEqual(yield* written({ levels: { defect: "None" } }, failing("a.A")), [])
      const refused = make(Effect.fail("no"), "a.A")
      const lines = yield* written({ levels: { failure: undefined } }, refused)
      assert.deepStrictEqual(lines.map(({ level }) => level), ["Warn"])
    }))

  it.effect("stands beside the observers that are there, under the name of logs", () =>
    Effect.gen(function*() {
      const told: Array<string> = []
      const outer = Observer.layer([{ onCallEnd: ({ key }) => void told.push(key) }])
      const lines = yield* written({}, failing("a.A")).pipe(Effect.provide(outer))
      assert.deepStrictEqual([told, lines.length], [["a.A"], 1])
      assert.strictEqual((yield* Effect.scoped(RegoLogs.make())).name, "logs")
    }))

  it("refuses options with every one that is out of range", () => {
    assert.throws(
      () => RegoLogs.layer({ maxLines: 0, window: "0 seconds", maxKeys: 0.5, levels: { success: "Loud" as "Info" } }),
      RangeError,
      /levels.success[\s\S]*maxLines[\s\S]*window[\s\S]*maxKeys/
    )
    assert.throws(() => RegoLogs.layer({ maxLines: 0 }), /RegoLogs/)
  })
})
