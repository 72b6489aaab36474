import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Logger } from "effect"
import type { Binding, KeyState } from "../src/Bindings.ts"
import { Bindings, reportOnce } from "../src/Bindings.ts"
import { KillSwitch } from "../src/KillSwitch.ts"
import { Supervisor } from "../src/Supervisor.ts"

interface Options {
  readonly maxKeys?: number
  readonly named?: ReadonlyArray<string>
  readonly passing?: boolean
}

/** Bindings of policies that say nothing, and the keys that were bound, in order. */
const make = ({ maxKeys = 100, named = [], passing = false }: Options = {}) => {
  const bound: Array<string> = []
  const bindings = new Bindings({
    policies: {
      isNamed: (key) => named.includes(key),
      bind: (state: KeyState): Binding => {
        bound.push(state.key)
        return { key: state.key, state, passing, facts: { revision: "1", source: "local", retries: false } } as never
      }
    },
    bounds: { maxKeys, maxAbandoned: 1, maxAttemptRecords: 1 },
    supervisor: new Supervisor(),
    switches: new KillSwitch()
  })
  return { bindings, bound }
}

/** A context whose log is a list. */
const logging = () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ message }) => lines.push(String(message)))
  const context = Context.make(Logger.CurrentLoggers, new Set([logger])) as Context.Context<never>
  return { context, lines }
}

const none: Context.Context<never> = Context.empty()

describe("Bindings", () => {
  it("bind a key once, however it is written", () => {
    const { bindings, bound } = make()
    const first = bindings.get("svc.Get", none)
    for (const text of ["svc.Get", " svc.Get", "svc . Get"]) assert.strictEqual(bindings.get(text, none), first)
    assert.deepStrictEqual(bound, ["svc.Get"])
  })

  it("remember as many texts as twice the number of keys, and each key itself", () => {
    const { bindings } = make({ maxKeys: 3 })
    for (let i = 0; i < 20; i++) bindings.get(`${" ".repeat(i)}svc.A`, none)
    assert.strictEqual(bindings["byText"].size, 6)
    bindings.get("svc.B", none)
    bindings.get(" svc.B", none)
    assert.deepStrictEqual([...bindings["byText"].keys()].slice(6), ["svc.B"])
  })

  describe("find", () => {
    it("knows what was called before, and nothing else", () => {
      const { bindings, bound } = make()
      const binding = bindings.get(" svc.Get", none)
      assert.strictEqual(bindings.find(" svc.Get", none), binding)
      assert.strictEqual(bindings.find("svc.Get", none), binding)
      assert.isUndefined(bindings.find("svc.Other", none))
      assert.deepStrictEqual(bound, ["svc.Get"])
    })

    it("binds again what was called before the policies changed", () => {
      const { bindings, bound } = make()
      const before = bindings.get("svc.Get", none)
      bindings.clear()
      const after = bindings.find("svc.Get", none)
      assert.notStrictEqual(after, before)
      assert.strictEqual(after?.state, before.state)
      assert.isUndefined(bindings.find("svc.Other", none))
      assert.deepStrictEqual(bound, ["svc.Get", "svc.Get"])
    })
  })

  describe("a change", () => {
    const texts = ["svc.A", " svc.A", "svc.B"]

    it("of all policies makes every binding anew, and leaves the state of its key", () => {
      const { bindings } = make()
      const before = texts.map((text) => bindings.get(text, none))
      bindings.clear()
      assert.strictEqual(before[0]!.state.texts.size, 0)
      texts.forEach((text, index) => {
        const after = bindings.get(text, none)
        assert.notStrictEqual(after, before[index])
        assert.strictEqual(after.state, before[index]!.state)
      })
    })

    it("of all policies sends no key elsewhere, full as it is, and leaves the states of overflow keys as well", () => {
      const { bindings } = make({ maxKeys: 2 })
      const { context, lines } = logging()
      const states = () =>
        ["svc.A", "svc.B", "svc.C", "bad key"].map((text) => {
          const { key, state } = bindings.get(text, context)
          assert.strictEqual(bindings.find(text, context)?.state, text === "svc.C" ? undefined : state)
          return [key as string, state] as const
        })
      const before = states()
      assert.deepStrictEqual(before.map(([key]) => key), ["svc.A", "svc.B", "svc._overflow", "_overflow"])
      bindings.clear()
      states().forEach(([key, state], index) => {
        assert.strictEqual(key, before[index]![0])
        assert.strictEqual(state, before[index]![1])
      })
      assert.lengthOf(lines, 2)
    })

    it("of one key makes its binding anew, whatever its texts, and no other", () => {
      const { bindings } = make()
      const before = texts.map((text) => bindings.get(text, none))
      bindings.drop("svc.A")
      assert.strictEqual(before[0]!.state.texts.size, 0)
      assert.deepStrictEqual(texts.map((text, index) => bindings.get(text, none) === before[index]), [
        false,
        false,
        true
      ])
      assert.doesNotThrow(() => bindings.drop("svc.Unknown"))
    })

    it("of where policies come from reaches each binding as it is", () => {
      const { bindings } = make()
      const binding = bindings.get("svc.A", none)
      bindings.setFacts(({ key }) => ({ revision: `of ${key}`, source: "stale", retries: false }))
      assert.deepStrictEqual(binding.facts, { revision: "of svc.A", source: "stale", retries: false })
      assert.strictEqual(bindings.get("svc.A", none), binding)
    })
  })

  it("a binding that is made anew for each call is kept by nobody, and nobody is told of it", () => {
    const { bindings, bound } = make({ passing: true })
    const heard: Array<string> = []
    bindings.watch(({ key }) => heard.push(key))
    const first = bindings.get("svc.A", none)
    assert.notStrictEqual(bindings.get("svc.A", none), first)
    assert.deepStrictEqual([bound, heard], [["svc.A", "svc.A"], []])
    assert.strictEqual(first.state.texts.size, 0)
  })

  describe("a watcher", () => {
    it("hears of what is bound already, and of what is bound later, until it has enough", () => {
      const { bindings } = make()
      bindings.get("svc.A", none)
      const heard: Array<string> = []
      const end = bindings.watch(({ key }) => heard.push(key))
      bindings.get("svc.B", none)
      bindings.get("svc.B", none)
      bindings.clear()
      bindings.get("svc.B", none)
      end()
      bindings.get("svc.C", none)
      assert.deepStrictEqual(heard, ["svc.A", "svc.B", "svc.B"])
    })

    it("that throws is reported once for a key, and stops neither the others nor the call", () => {
      const { bindings } = make()
      const { context, lines } = logging()
      const heard: Array<string> = []
      bindings.watch(() => {
        throw new Error("boom")
      })
      bindings.watch(({ key }) => heard.push(key))
      for (let i = 0; i < 2; i++) {
        assert.strictEqual(bindings.get("svc.A", context).key as string, "svc.A")
        bindings.clear()
      }
      assert.deepStrictEqual(heard, ["svc.A", "svc.A"])
      assert.deepStrictEqual(lines.map((line) => line.split(",")[0]), [
        "rego svc.A: a defect in the metrics changes no call"
      ])
    })
  })

  describe("one key too many", () => {
    it("runs under the overflow key of its namespace, which is said once and takes no room", () => {
      const { bindings } = make({ maxKeys: 2, named: ["svc.Named"] })
      const { context, lines } = logging()
      const keys = ["bad key", "svc.A", "svc.B", "svc.C", "svc.D", "svc.Named"].map((text) =>
        bindings.get(text, context).key as string
      )
      assert.deepStrictEqual(keys, ["_overflow", "svc.A", "svc.B", "svc._overflow", "svc._overflow", "svc.Named"])
      assert.deepStrictEqual(lines, [
        "rego _overflow: calls run under _overflow: \"bad key\" is no valid key",
        "rego svc._overflow: calls run under svc._overflow: \"svc.C\" is one key too many"
      ])
    })
  })

  it("say one thing about a key once, each thing apart", () => {
    const { bindings } = make()
    const { context, lines } = logging()
    const binding = bindings.get("svc.A", none)
    for (const what of ["a", "b", "a"]) reportOnce(binding, context, what, `about ${what}`)
    assert.deepStrictEqual(lines, ["rego svc.A: about a", "rego svc.A: about b"])
  })

  it("put something around each attempt only where they were told to", () => {
    const { bindings } = make()
    const effect = Effect.succeed(1)
    assert.strictEqual(bindings.surround(effect), effect)
    const around = bindings.withAround((self) => self)
    assert.notStrictEqual(around.surround(effect), effect)
    assert.strictEqual(around.get("svc.A", none), bindings.get("svc.A", none))
  })
})
