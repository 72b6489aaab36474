import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Metric, Scope } from "effect"
import { TestClock } from "effect/testing"
import { AsyncLocalStorage } from "node:async_hooks"
import { Mailbox } from "../src/Mailbox.ts"
import type { Line } from "./support.ts"
import { withLog } from "./support.ts"

interface Told {
  readonly told: Array<number>
}

const number = (n: number) => ({ tell: ({ told }: Told) => void told.push(n) })

const make = (capacity = 10, name = "slow") => {
  const observer: Told = { told: [] }
  return { observer, mailbox: new Mailbox(observer, { name, capacity }) }
}

const boom = new Error("boom")
const throws = {
  tell: () => {
    throw boom
  }
}

describe("Mailbox", () => {
  it.effect("tells in another turn, in the order in which notices came", () =>
    Effect.gen(function*() {
      const { mailbox, observer } = make()
      for (const n of [1, 2, 3]) mailbox.push(number(n))
      assert.deepStrictEqual(observer.told, [])
      assert.strictEqual(mailbox.waiting, 3)
      yield* mailbox.flush
      assert.deepStrictEqual(observer.told, [1, 2, 3])
      assert.strictEqual(mailbox.waiting, 0)
      mailbox.push(number(4))
      yield* mailbox.flush
      assert.deepStrictEqual(observer.told, [1, 2, 3, 4])
    }))

  it.effect("drops what does not fit, and counts it in a number and in a metric", () =>
    Effect.gen(function*() {
      const { mailbox, observer } = make(2)
      mailbox.open(yield* Effect.context<never>())
      for (const n of [1, 2, 3, 4]) mailbox.push(number(n))
      yield* mailbox.flush
      assert.deepStrictEqual(observer.told, [1, 2])
      assert.strictEqual(mailbox.dropped, 2)
      const snapshot = yield* Metric.snapshot
      const counter = snapshot.find(({ id }) => id === "rego.observer.dropped")
      assert.deepStrictEqual(counter?.attributes, { unit: "{event}", observer: "slow" })
      assert.include(counter?.state, { count: 2 })
      mailbox.push(number(5))
      yield* mailbox.flush
      assert.deepStrictEqual(observer.told, [1, 2, 5])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("reports the first defect, whatever form it has, and goes on", () =>
    Effect.gen(function*() {
      const lines: Array<Line> = []
      const { mailbox, observer } = make()
      yield* withLog(
        Effect.gen(function*() {
          mailbox.open(yield* Effect.context<never>())
          mailbox.push(throws)
          mailbox.push({ tell: () => Effect.die(boom) })
          mailbox.push({ tell: () => Promise.reject(boom) })
          mailbox.push(number(1))
          yield* mailbox.flush
        }),
        lines
      )
      assert.deepStrictEqual(observer.told, [1])
      assert.strictEqual(mailbox.failed, 3)
      assert.deepStrictEqual(lines, [{
        level: "Error",
        message: "rego: a defect in the observer slow changes no call",
        cause: Cause.die(boom)
      }])
    }))

  it.effect("reports a defect of an Effect as it is", () =>
    Effect.gen(function*() {
      const lines: Array<Line> = []
      const { mailbox } = make()
      yield* withLog(
        Effect.gen(function*() {
          mailbox.open(yield* Effect.context<never>())
          mailbox.push({ tell: () => Effect.die(boom) })
          yield* mailbox.flush
        }),
        lines
      )
      assert.deepStrictEqual(lines.map(({ cause }) => cause), [Cause.die(boom)])
    }))

  it.effect("waits for a promise that is returned before it tells the next thing", () =>
    Effect.gen(function*() {
      const { mailbox, observer } = make()
      let resolve = () => {}
      const promise = new Promise<void>((answer) => {
        resolve = answer
      })
      mailbox.push({ tell: () => promise })
      mailbox.push(number(2))
      yield* Effect.repeat(Effect.yieldNow, { times: 5 })
      assert.deepStrictEqual([observer.told, mailbox.waiting], [[], 2])
      resolve()
      yield* mailbox.flush
      assert.deepStrictEqual([observer.told, mailbox.failed], [[2], 0])
    }))

  it.effect("takes whatever else an observer returns for nothing to wait for", () =>
    Effect.gen(function*() {
      const { mailbox, observer } = make()
      const thenable = JSON.parse(`{"then":1}`)
      for (const answer of [null, undefined, 7, "then", {}, thenable]) mailbox.push({ tell: () => answer })
      mailbox.push(number(1))
      yield* mailbox.flush
      assert.deepStrictEqual([observer.told, mailbox.failed], [[1], 0])
    }).pipe((self) => withLog(self)))

  it.effect("tells in the asynchronous context in which its layer was opened", () =>
    Effect.gen(function*() {
      const { mailbox } = make()
      const storage = new AsyncLocalStorage<string>()
      const stores: Array<string | undefined> = []
      storage.run("the layer", () => void mailbox.open(Context.empty()))
      storage.run("a request", () => mailbox.push({ tell: () => void stores.push(storage.getStore()) }))
      yield* mailbox.flush
      assert.deepStrictEqual(stores, ["the layer"])
    }))

  it.effect("runs an Effect that is returned before it tells the next thing", () =>
    Effect.gen(function*() {
      const { mailbox, observer } = make()
      const gate = Deferred.makeUnsafe<void>()
      mailbox.push({ tell: ({ told }) => Effect.andThen(Deferred.await(gate), Effect.sync(() => told.push(1))) })
      mailbox.push(number(2))
      yield* Effect.yieldNow
      yield* Effect.yieldNow
      assert.deepStrictEqual(observer.told, [])
      yield* Deferred.succeed(gate, undefined)
      yield* mailbox.flush
      assert.deepStrictEqual(observer.told, [1, 2])
    }))

  it.effect("keeps to its bound while an observer hangs, and takes what fits", () =>
    Effect.gen(function*() {
      const { mailbox } = make(3)
      mailbox.push({ tell: () => Effect.never })
      yield* Effect.yieldNow
      yield* Effect.yieldNow
      for (let n = 0; n < 100; n++) mailbox.push(number(n))
      assert.strictEqual(mailbox.waiting, 3)
      assert.strictEqual(mailbox.dropped, 98)
    }))

  it.live("lets others go first between two slices", () =>
    Effect.gen(function*() {
      const { mailbox, observer } = make(1_000)
      let end = 0
      const busy = (n: number) => ({
        tell: ({ told }: Told) => {
          end = performance.now() + 1
          while (performance.now() < end);
          told.push(n)
        }
      })
      for (let n = 0; n < 20; n++) mailbox.push(busy(n))
      let turns = 0
      const others = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(Effect.sync(() => void turns++), Effect.yieldNow))
      )
      yield* mailbox.flush
      yield* Fiber.interrupt(others)
      assert.strictEqual(observer.told.length, 20)
      assert.isAtLeast(turns, 5)
    }))

  it.effect("goes on after an observer that interrupts the fiber in which it is told", () =>
    Effect.gen(function*() {
      const { mailbox, observer } = make()
      const interrupting = Effect.withFiber((fiber) => {
        fiber.interruptUnsafe()
        return Effect.never
      })
      mailbox.push(number(1))
      mailbox.push({ tell: () => interrupting })
      mailbox.push(number(2))
      yield* mailbox.flush
      assert.deepStrictEqual(observer.told, [1, 2])
      assert.strictEqual(mailbox.failed, 1)
      mailbox.push(number(3))
      yield* mailbox.flush
      assert.deepStrictEqual(observer.told, [1, 2, 3])
    }).pipe((self) => withLog(self)))

  it.effect("counts nothing as told when its fiber is interrupted between two notices", () =>
    Effect.gen(function*() {
      const { mailbox, observer } = make()
      let fiber: Fiber.Fiber<unknown, unknown> | undefined
      mailbox.push({
        tell: () =>
          Effect.withFiber((own) => {
            fiber = own
            return Effect.void
          })
      })
      yield* mailbox.flush
      mailbox.push(number(1))
      fiber?.interruptUnsafe()
      yield* mailbox.flush
      assert.deepStrictEqual(observer.told, [1])
      assert.strictEqual(mailbox.failed, 0)
    }))

  it.effect("forgets a flush that was interrupted", () =>
    Effect.gen(function*() {
      const { mailbox } = make()
      const gate = Deferred.makeUnsafe<void>()
      mailbox.push({ tell: () => Deferred.await(gate) })
      const fork = Effect.forkChild(mailbox.flush, { startImmediately: true })
      const [flush, other] = [yield* fork, yield* fork]
      assert.lengthOf(mailbox["waiters"], 2)
      yield* Fiber.interrupt(flush)
      assert.lengthOf(mailbox["waiters"], 1)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(other)
      assert.lengthOf(mailbox["waiters"], 0)
    }))

  it.effect("tells in the context of the latest layer that is open", () =>
    Effect.gen(function*() {
      const { mailbox, observer } = make()
      const Name = Context.Service<never, number>("Name")
      const name = { tell: ({ told }: Told) => Effect.map(Name, (is) => void told.push(is)) }
      const closeFirst = mailbox.open(Context.make(Name, 1))
      const closeSecond = mailbox.open(Context.make(Name, 2))
      mailbox.push(name)
      yield* mailbox.flush
      yield* closeSecond
      mailbox.push(name)
      yield* mailbox.flush
      assert.deepStrictEqual(observer.told, [2, 1])
      yield* closeFirst
    }))

  describe("closing", () => {
    it.effect("tells what waits, and has nothing to say about it", () =>
      Effect.gen(function*() {
        const { mailbox, observer } = make()
        const lines: Array<Line> = []
        const close = mailbox.open(Context.empty())
        mailbox.push(number(1))
        yield* withLog(close, lines)
        assert.deepStrictEqual([observer.told, lines], [[1], []])
        mailbox.push(number(2))
        assert.strictEqual(mailbox.dropped, 1)
        assert.strictEqual(mailbox.waiting, 0)
      }))

    it.effect("leaves an observer that hangs after two seconds of real time, says so, and counts what it dropped", () =>
      Effect.gen(function*() {
        const { mailbox, observer } = make()
        const lines: Array<Line> = []
        let interrupted = false
        let waits: Fiber.Fiber<void> | undefined
        const scope = yield* Scope.make()
        yield* withLog(
          Effect.gen(function*() {
            yield* Scope.addFinalizer(scope, mailbox.open(yield* Effect.context<never>()))
            mailbox.push({
              tell: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (interrupted = true)))
            })
            mailbox.push(number(1))
            waits = yield* Effect.forkChild(mailbox.flush, { startImmediately: true })
            yield* Scope.close(scope, Exit.void)
          }),
          lines
        )
        yield* Fiber.join(waits!)
        assert.isTrue(interrupted)
        assert.deepStrictEqual(observer.told, [])
        assert.strictEqual(mailbox.dropped, 2)
        assert.strictEqual(mailbox.waiting, 0)
        assert.deepStrictEqual(lines.map(({ message }) => message), [
          "rego: the observer slow was left after 2s, 2 untold"
        ])
        mailbox.open(Context.empty())
        mailbox.push(number(3))
        yield* mailbox.flush
        assert.deepStrictEqual([observer.told, mailbox.waiting, mailbox.failed], [[3], 0, 0])
        yield* TestClock.adjust("1 minute")
      }))

    it.effect("goes on for a layer that was opened while the last one waited for it", () =>
      Effect.gen(function*() {
        const { mailbox, observer } = make()
        const gate = Deferred.makeUnsafe<void>()
        const close = mailbox.open(Context.empty())
        mailbox.push({ tell: () => Deferred.await(gate) })
        const closing = yield* Effect.forkChild(close, { startImmediately: true })
        mailbox.open(Context.empty())
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(closing)
        mailbox.push(number(1))
        yield* mailbox.flush
        assert.deepStrictEqual([observer.told, mailbox.dropped], [[1], 0])
      }))

    it.effect("waits for the last of the layers that have the observer", () =>
      Effect.gen(function*() {
        const { mailbox, observer } = make()
        const [closeFirst, closeSecond] = [mailbox.open(Context.empty()), mailbox.open(Context.empty())]
        yield* closeFirst
        mailbox.push(number(1))
        yield* closeSecond
        assert.deepStrictEqual(observer.told, [1])
        mailbox.push(number(2))
        assert.strictEqual(mailbox.dropped, 1)
        mailbox.open(Context.empty())
        mailbox.push(number(3))
        yield* mailbox.flush
        assert.deepStrictEqual(observer.told, [1, 3])
      }))
  })
})
