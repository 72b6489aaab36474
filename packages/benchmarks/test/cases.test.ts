import { assert, describe, it } from "@effect/vitest"
import { PolicyProvider, Rego } from "@rego/core"
import { Effect, Option } from "effect"
import { cases, groups, hostOf } from "../src/cases.ts"
import * as Loopback from "../src/loopback.ts"
import { operationOf } from "../src/operations.ts"
import { keys } from "../src/policies.ts"
import type { Subject } from "../src/subjects.ts"
import { runsIn, subjects } from "../src/subjects.ts"

const host = await hostOf(Loopback.none)
const { runtime } = host

/** Calls an operation that succeeds at once; answers with the value and how often the operation ran. */
const call = async (subject: Subject): Promise<readonly [value: unknown, runs: number]> => {
  let runs = 0
  const operation = async () => {
    runs++
    return 1
  }
  const value = "effect" in subject
    ? await runtime.runPromise(subject.effect(Effect.promise(() => operation())))
    : await subject.promise(operation)
  return [value, runs]
}

/** What comes with its timeline is a pair. */
const valueOf = (value: unknown): unknown => Array.isArray(value) ? value[0] : value

describe("cases", () => {
  it("have ids of their own", () => {
    assert.strictEqual(new Set(cases.map(({ id }) => id)).size, cases.length)
  })

  for (const subject of subjects) {
    it(`${subject.name}: runs the operation once and ends with its value`, async () => {
      const [value, runs] = await call(subject)
      assert.deepStrictEqual([valueOf(value), runs], [1, 1])
    })
  }

  for (const { id, run } of cases.filter(({ id }) => !id.startsWith("http"))) {
    it(`${id}: can be run`, () => run(host, 3))
  }

  it("that fail do so twice: everything else retries them to the end", async () => {
    for (const subject of subjects.filter((subject) => runsIn(subject, groups.failing))) {
      if (!("effect" in subject)) throw new Error("only effects run here")
      const operation = operationOf("failing", Loopback.none)
      assert.strictEqual(await runtime.runPromise(subject.effect(operation.effect())), 1)
      const twice = operation.effect()
      const failures = [await runtime.runPromiseExit(twice), await runtime.runPromiseExit(twice)]
      assert.deepStrictEqual(failures.map(({ _tag }) => _tag), ["Failure", "Failure"])
    }
  })
})

describe("policies", () => {
  it("have everything on", async () => {
    const { policy, statistics } = await runtime.runPromise(PolicyProvider.PolicyProvider)
    const on = Option.getOrThrow(await runtime.runPromise(policy(keys.everything))).sections
    assert.isObject(on.retry)
    assert.hasAllKeys(on.timeout, ["perAttempt", "overall"])
    assert.isObject(on.hedge)
    assert.isTrue(on.idempotent)
    assert.isFunction(on.classifier)
    assert.strictEqual(on.budget, "default")
    const off = Option.getOrThrow(await runtime.runPromise(policy(keys.withoutHedge))).sections
    assert.deepStrictEqual({ ...off, hedge: on.hedge }, on)
    await runtime.runPromise(Rego.resilient(Effect.succeed(1), keys.everything))
    const known = Option.getOrThrow(await runtime.runPromise(statistics(keys.everything)))
    assert.isAbove(Option.getOrThrow(known.hedging).latency.samples, 0)
  })
})

describe("loopback", () => {
  it("answers requests from a process of its own", async () => {
    const loopback = await Loopback.open()
    const http = cases.filter(({ id }) => id.startsWith("http"))
    assert.strictEqual(await loopback.get(), 1)
    for (const { run } of http) await run({ ...host, loopback }, 2)
    loopback.close()
    assert.isNotEmpty(http)
  })
})
