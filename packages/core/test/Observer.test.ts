import { assert, describe, it } from "@effect/vitest"
import { Observer, PolicyLayer, PolicySource, Rego, Timeline } from "@rego/core"
import { Context, Deferred, Effect, Exit, Layer, Ref, Scope } from "effect"
import { AsyncLocalStorage } from "node:async_hooks"
import { document, memory } from "./liveSupport.ts"
import type { Line } from "./support.ts"
import { inVirtualTime, makeTracer, policiesOf, under, withLog } from "./support.ts"

type One = Layer.Layer<never>

const call = Effect.succeed("ada").pipe(Rego.resilient("users.Get"))

/** An observer that writes down its name for each call that ends. */
const naming = (name: string, names: Array<string>): Observer.Observer => ({
  name,
  onCallEnd: () => void names.push(name)
})

const run = <E>(layer: Layer.Layer<never, E>, outer: Layer.Layer<never> = Layer.empty, log?: Array<Line>) =>
  Effect.andThen(call, Observer.flush).pipe(
    Effect.provide(layer),
    Effect.provide(outer),
    (self) => under(self, PolicyLayer.defaults, log)
  )

describe("Observer", () => {
  it.effect("is none where no layer brought one", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Observer.CurrentObservers, new Set())
    }))

  describe("layer", () => {
    it.effect("replaces what was set outside, and adds to it when it is asked to", () =>
      Effect.gen(function*() {
        const names: Array<string> = []
        const [outer, inner] = [Observer.layer([naming("outer", names)]), naming("inner", names)]
        yield* run(Observer.layer([inner]), outer)
        assert.deepStrictEqual(names, ["inner"])
        names.length = 0
        yield* run(Observer.layer([inner], { mergeWithExisting: true }), outer)
        assert.deepStrictEqual(names.toSorted(), ["inner", "outer"])
        names.length = 0
        yield* run(Observer.layer([]), outer)
        assert.deepStrictEqual(names, [])
      }))

    it.effect("builds observers that are made by an Effect, in its own scope", () =>
      Effect.gen(function*() {
        const names: Array<string> = []
        const made = Effect.acquireRelease(
          Effect.sync(() => naming("made", names)),
          () => Effect.sync(() => void names.push("released"))
        )
        yield* run(Observer.layer([made]))
        assert.deepStrictEqual(names, ["made", "released"])
      }))

    it.effect("fails as the Effects in it do", () =>
      Effect.gen(function*() {
        const layer: Layer.Layer<never, "no"> = Observer.layer([Effect.fail("no" as const)])
        assert.deepStrictEqual(yield* Effect.exit(Effect.scoped(Layer.build(layer))), Exit.fail("no" as const))
      }))

    it.effect("tells what still waits when it closes", () =>
      Effect.gen(function*() {
        const names: Array<string> = []
        yield* call.pipe(Effect.provide(Observer.layer([naming("late", names)])), (self) =>
          under(self, PolicyLayer.defaults))
        assert.deepStrictEqual(names, ["late"])
      }))

    it.effect("does not tell an observer of the calls that it makes itself", () =>
      Effect.gen(function*() {
        let told = 0
        const context = yield* Effect.context<never>()
        const provided = yield* Layer.build(PolicyLayer.defaults)
        const makes = Observer.make({
          onCallEnd: () => {
            told++
            return call.pipe(Effect.provide(Context.merge(context, provided)), Effect.asVoid, Effect.orDie)
          }
        })
        yield* run(Observer.layer([makes]))
        assert.strictEqual(told, 1)
      }).pipe(Effect.scoped))
  })

  describe("layers side by side", () => {
    /** Who is told of one call under a layer, and how often. */
    const toldUnder = <E>(
      names: Array<string>,
      layer: Layer.Layer<never, E>,
      outer?: Layer.Layer<never>
    ) => {
      names.length = 0
      return Effect.as(run(layer, outer), names)
    }

    it.effect("are all told, whichever is named last", () =>
      Effect.gen(function*() {
        const names: Array<string> = []
        const [a, b, c] = ["a", "b", "c"].map((name) => Observer.layer([naming(name, names)])) as [One, One, One]
        assert.sameMembers(yield* toldUnder(names, Layer.mergeAll(a, b, c)), ["a", "b", "c"])
        assert.sameMembers(yield* toldUnder(names, Layer.mergeAll(c, b, a)), ["a", "b", "c"])
        assert.sameMembers(yield* toldUnder(names, Layer.merge(a, Layer.merge(b, c))), ["a", "b", "c"])
        assert.sameMembers(yield* toldUnder(names, Layer.merge(a, Observer.layer([]))), ["a"])
        names.length = 0
        yield* Effect.andThen(call, Observer.flush).pipe(Effect.provide([a, PolicyLayer.defaults, b]))
        assert.sameMembers(names, ["a", "b"])
      }))

    it.effect("replace together what was set around them, or add to it", () =>
      Effect.gen(function*() {
        const names: Array<string> = []
        const [a, b] = ["a", "b"].map((name) => naming(name, names)) as [Observer.Observer, Observer.Observer]
        const outer = Observer.layer([naming("outer", names)])
        const [replaces, adds] = [Observer.layer([a]), Observer.layer([b], { mergeWithExisting: true })]
        assert.sameMembers(yield* toldUnder(names, Layer.merge(replaces, Observer.layer([b])), outer), ["a", "b"])
        assert.sameMembers(yield* toldUnder(names, Layer.merge(replaces, Observer.layer([])), outer), ["a"])
        assert.sameMembers(yield* toldUnder(names, Layer.merge(adds, replaces), outer), ["a", "b", "outer"])
        const [inside, around] = [Observer.layer([naming("in", names)]), Layer.merge(replaces, Observer.layer([b]))]
        assert.sameMembers(yield* toldUnder(names, inside, around), ["in"])
        assert.sameMembers(yield* toldUnder(names, Layer.provideMerge(inside, around)), ["in"])
        const stacked = Layer.provideMerge(inside, around)
        assert.sameMembers(yield* toldUnder(names, Layer.merge(stacked, Observer.layer([b]))), ["in", "b"])
        assert.sameMembers(yield* toldUnder(names, Layer.merge(Observer.layer([b]), stacked)), ["in", "b"])
        const added = Observer.layer([naming("in", names)], { mergeWithExisting: true })
        assert.sameMembers(yield* toldUnder(names, added, around), ["a", "b", "in"])
        assert.sameMembers(yield* toldUnder(names, Layer.provideMerge(added, around)), ["a", "b", "in"])
        assert.sameMembers(yield* toldUnder(names, Layer.provide(added, around)), ["a", "b", "in"])
      }))

    it.effect("tell an observer once, however often it is given", () =>
      Effect.gen(function*() {
        const names: Array<string> = []
        const [a, b] = ["a", "b"].map((name) => naming(name, names)) as [Observer.Observer, Observer.Observer]
        const layer = Observer.layer([a])
        assert.deepStrictEqual(yield* toldUnder(names, Layer.merge(layer, Observer.layer([a]))), ["a"])
        assert.deepStrictEqual(yield* toldUnder(names, Layer.merge(layer, layer)), ["a"])
        assert.deepStrictEqual(yield* toldUnder(names, layer, layer), ["a"])
        assert.sameMembers(yield* toldUnder(names, Layer.merge(layer, Observer.layer([b, a]))), ["a", "b"])
        const made = Observer.layer([Effect.sync(() => naming("made", names))], { mergeWithExisting: true })
        assert.deepStrictEqual(yield* toldUnder(names, Layer.merge(made, made), made), ["made"])
      }))

    it.effect("are told of the calls under them only, though they are built together", () =>
      Effect.gen(function*() {
        const names: Array<string> = []
        class First extends Context.Service<First, Effect.Effect<void>>()("First") {}
        class Second extends Context.Service<Second, Effect.Effect<void>>()("Second") {}
        const making = Effect.map(Effect.context<never>(), (context) =>
          call.pipe(
            Effect.andThen(Observer.flush),
            Effect.provide(PolicyLayer.defaults),
            Effect.orDie,
            Effect.provideContext(context)
          ))
        const services = Layer.merge(
          Layer.effect(First, making).pipe(Layer.provide(Observer.layer([naming("first", names)]))),
          Layer.effect(Second, making).pipe(Layer.provide(Observer.layer([naming("second", names)])))
        )
        yield* Effect.gen(function*() {
          yield* yield* First
          assert.deepStrictEqual(names, ["first"])
          yield* yield* Second
          assert.deepStrictEqual(names, ["first", "second"])
        }).pipe(Effect.provide(services))
      }))

    it.effect("hear of other policies, and a later level of spans counts", () =>
      Effect.gen(function*() {
        const swapped: Array<string> = []
        const hears = (name: string) =>
          Observer.layer([{ onEvent: ({ _tag }) => void (_tag === "PolicySwapped" && swapped.push(name)) }])
        const { say, source } = yield* memory()
        yield* say(document({ revision: "1" }))
        const { spans, tracer } = makeTracer()
        const quiet = Observer.layer([Observer.spans("off")])
        const beside = Layer.mergeAll(Observer.layer([Observer.spans("call")]), hears("a"), hears("b"), quiet)
        const policies = PolicyLayer.live().pipe(Layer.provide(Layer.succeed(PolicySource.PolicySource, source)))
        yield* Effect.andThen(call, Observer.flush).pipe(
          Effect.provide(Layer.provideMerge(policies, beside)),
          Effect.withTracer(tracer)
        )
        assert.sameMembers(swapped, ["a", "b"])
        assert.deepStrictEqual(spans, [])
      }).pipe((self) => withLog(self)))

    it.effect("are told no more when they have closed, and the others are", () =>
      Effect.gen(function*() {
        const names: Array<string> = []
        const memoMap = yield* Layer.makeMemoMap
        const [a, b] = ["a", "b"].map((name) => naming(name, names)) as [Observer.Observer, Observer.Observer]
        const scope = yield* Scope.make()
        const first = yield* Layer.buildWithMemoMap(Observer.layer([a]), memoMap, scope)
        const second = yield* Layer.buildWithMemoMap(Observer.layer([b]), memoMap, yield* Effect.scope)
        const told = Effect.andThen(call, Observer.flush).pipe(
          Effect.provide(PolicyLayer.defaults),
          Effect.provideContext(Context.merge(first, second))
        )
        yield* told
        assert.sameMembers(names, ["a", "b"])
        yield* Scope.close(scope, Exit.void)
        yield* told
        assert.sameMembers(names, ["a", "b", "b"])
        assert.strictEqual((yield* Observer.statistics(a)).dropped, 0)
      }).pipe(Effect.scoped))

    /** Layers of one observer each, built together, each with a scope of its own. */
    const builtTogether = (names: Array<string>, ...of: ReadonlyArray<string>) =>
      Effect.gen(function*() {
        const memoMap = yield* Layer.makeMemoMap
        return yield* Effect.forEach(of, (name) =>
          Effect.gen(function*() {
            const scope = yield* Effect.acquireRelease(Scope.make(), (it) => Scope.close(it, Exit.void))
            const layer = Observer.layer([naming(name, names)])
            const context = yield* Layer.buildWithMemoMap(layer, memoMap, scope)
            return { context, close: Scope.close(scope, Exit.void) }
          }))
      })

    const toldIn = (names: Array<string>, ...contexts: ReadonlyArray<Context.Context<never>>) => {
      names.length = 0
      return Effect.andThen(call, Observer.flush).pipe(
        Effect.provide(PolicyLayer.defaults),
        Effect.provideContext(Context.mergeAll(...contexts)),
        Effect.map(() => names.toSorted())
      )
    }

    it.effect("are told where they stand, one call with some of them and the next one with others", () =>
      Effect.gen(function*() {
        const names: Array<string> = []
        const [a, b, c] = (yield* builtTogether(names, "a", "b", "c")).map(({ context }) => context) as [
          Context.Context<never>,
          Context.Context<never>,
          Context.Context<never>
        ]
        for (let time = 0; time < 2; time++) {
          assert.deepStrictEqual(yield* toldIn(names, c), ["c"])
          assert.deepStrictEqual(yield* toldIn(names, a, c), ["a", "c"])
          assert.deepStrictEqual(yield* toldIn(names, b, c), ["b", "c"])
          assert.deepStrictEqual(yield* toldIn(names, a, b, c), ["a", "b", "c"])
        }
      }).pipe(Effect.scoped))

    it.effect("are told though the one that the context names has closed", () =>
      Effect.gen(function*() {
        const names: Array<string> = []
        const layers = yield* builtTogether(names, "a", "b", "c")
        const contexts = layers.map(({ context }) => context)
        assert.deepStrictEqual(yield* toldIn(names, ...contexts), ["a", "b", "c"])
        yield* layers[2]!.close
        assert.deepStrictEqual(yield* toldIn(names, ...contexts), ["a", "b"])
      }).pipe(Effect.scoped))

    it.effect("are not told where the observers of a layer inside of theirs are named", () =>
      Effect.gen(function*() {
        const names: Array<string> = []
        const layer = (name: string) => Observer.layer([naming(name, names)])
        const around = layer("outer")
        const inside = layer("inner").pipe(Layer.provideMerge(around))
        yield* Effect.gen(function*() {
          const memoMap = yield* Layer.makeMemoMap
          const scope = yield* Effect.scope
          const outer = yield* Layer.buildWithMemoMap(around, memoMap, scope)
          const inner = yield* Layer.buildWithMemoMap(inside, memoMap, scope)
          const named = Context.make(Observer.CurrentObservers, Context.get(inner, Observer.CurrentObservers))
          assert.deepStrictEqual(yield* toldIn(names, outer, named), ["inner"])
        }).pipe(Effect.scoped)
      }))
  })

  describe("make", () => {
    it("refuses a capacity that is no integer from 1", () => {
      for (const capacity of [0, -1, 1.5, NaN, Infinity]) {
        assert.throws(
          () => Observer.make({ capacity }),
          `Observer: capacity must be an integer from 1, got ${capacity}`
        )
      }
      assert.strictEqual(Observer.make({ capacity: 7 }).capacity, 7)
    })

    it.effect("takes an instance of a class, with the methods of its class", () =>
      Effect.gen(function*() {
        class Counting {
          calls = 0
          onCallEnd(): void {
            this.calls++
          }
        }
        const counting = new Counting()
        yield* run(Observer.layer([Observer.make(counting)]))
        assert.strictEqual(counting.calls, 1)
      }))

    it.effect("is not needed: a layer checks plain objects as well", () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(Observer.layer([{ capacity: 0 }]))))
        assert.isTrue(Exit.hasDies(exit))
      }))
  })

  it.effect("counts what was dropped, and takes what fits", () =>
    Effect.gen(function*() {
      const heard: Array<string> = []
      const small = Observer.make({ capacity: 3, onEvent: ({ _tag }) => void heard.push(_tag) })
      yield* Effect.gen(function*() {
        yield* call
        assert.deepStrictEqual(yield* Observer.statistics(small), { waiting: 3, dropped: 1, failed: 0 })
        yield* Observer.flush
      }).pipe(Effect.provide(Observer.layer([small])), (self) => under(self, PolicyLayer.defaults))
      assert.deepStrictEqual(heard, ["PolicyResolved", "AttemptStarted", "AttemptEnded"])
      assert.deepStrictEqual(yield* Observer.statistics(small), { waiting: 0, dropped: 1, failed: 0 })
    }))

  it.effect("has room for what it listens to, and is sent nothing else: one that hears ends of calls, no events", () =>
    Effect.gen(function*() {
      const names: Array<string> = []
      const ends = Observer.make({ ...naming("ends", names), capacity: 1 })
      const events = Observer.make({ onEvent: ({ _tag }) => void (_tag === "CallEnded" && names.push("events")) })
      yield* run(Observer.layer([ends, events]))
      assert.sameMembers(names, ["ends", "events"])
      assert.deepStrictEqual(yield* Observer.statistics(ends), { waiting: 0, dropped: 0, failed: 0 })
    }))

  it.effect("that hangs loses events, and delays nobody: the call, and the other observers", () =>
    Effect.gen(function*() {
      const names: Array<string> = []
      const gate = Deferred.makeUnsafe<void>()
      const hangs = Observer.make({ capacity: 10, onEvent: () => Deferred.await(gate) })
      const exit = yield* inVirtualTime(
        Effect.gen(function*() {
          for (let n = 0; n < 100; n++) yield* call
          yield* Effect.yieldNow
          const { dropped, waiting } = yield* Observer.statistics(hangs)
          assert.deepStrictEqual({ dropped, waiting }, { dropped: 390, waiting: 10 })
          yield* Deferred.succeed(gate, undefined)
          yield* Observer.flush
        }).pipe(
          Effect.provide(Observer.layer([hangs, naming("other", names)])),
          (self) => under(self, PolicyLayer.defaults)
        )
      )
      assert.isTrue(Exit.isSuccess(exit))
      assert.strictEqual(names.length, 100)
    }))

  it.effect("that throws is named in the log, once", () =>
    Effect.gen(function*() {
      const lines: Array<Line> = []
      const throws = Observer.make({
        name: "mine",
        onEvent: () => {
          throw new Error("boom")
        }
      })
      yield* run(Observer.layer([throws]), Layer.empty, lines)
      assert.deepStrictEqual(lines.flatMap(({ level, message }) => level === "Error" ? [message] : []), [
        "rego: a defect in the observer mine changes no call"
      ])
      assert.strictEqual((yield* Observer.statistics(throws)).failed, 4)
    }))

  it.effect("that has no name is called so", () =>
    Effect.gen(function*() {
      const lines: Array<Line> = []
      yield* run(Observer.layer([{ onCallEnd: () => Effect.die("boom") }]), Layer.empty, lines)
      assert.deepStrictEqual(lines.flatMap(({ level, message }) => level === "Error" ? [message] : []), [
        "rego: a defect in the observer observer changes no call"
      ])
      assert.strictEqual(Observer.spans("off").name, "spans")
    }))

  it.effect("keeps the recent calls", () =>
    Effect.gen(function*() {
      const recent = Observer.recent({ capacity: 1, keepSlowest: 0 })
      yield* run(Observer.layer([recent]))
      yield* run(Observer.layer([recent]))
      assert.strictEqual(yield* recent.seen, 2)
      assert.deepStrictEqual((yield* recent.calls()).map(({ timeline }) => timeline.key), ["users.Get"])
      assert.deepStrictEqual(yield* Observer.recent().calls(), [])
    }))

  it.effect("is waited for by a flush as far as it had something to hear when the flush began", () =>
    Effect.gen(function*() {
      const [first, later] = [Deferred.makeUnsafe<void>(), Deferred.makeUnsafe<void>()]
      let heard = 0
      const slow = Observer.make({ onCallEnd: () => Deferred.await(first) })
      const quick = Observer.make({ onCallEnd: () => ++heard === 1 ? Effect.void : Deferred.await(later) })
      yield* Effect.gen(function*() {
        yield* call
        const flush = yield* Effect.forkChild(Observer.flush, { startImmediately: true })
        yield* call
        yield* Effect.repeat(Effect.yieldNow, { times: 10 })
        assert.isUndefined(flush.pollUnsafe())
        yield* Deferred.succeed(first, undefined)
        yield* Effect.repeat(Effect.yieldNow, { times: 10 })
        assert.deepStrictEqual(flush.pollUnsafe(), Exit.void)
        yield* Deferred.succeed(later, undefined)
      }).pipe(Effect.provide(Observer.layer([slow, quick])), (self) => under(self, PolicyLayer.defaults))
    }))

  it.effect("is told of an error in words when it is told, not while the call runs", () =>
    Effect.gen(function*() {
      const read = yield* Ref.make(0)
      let reads = 0
      const error = Object.defineProperty(new Error(), "message", {
        get: () => {
          reads++
          return "text"
        }
      })
      const heard: Array<unknown> = []
      const observer = Observer.make({
        onEvent: (event) => void (event._tag === "AttemptEnded" && heard.push(event.error))
      })
      yield* Effect.gen(function*() {
        yield* Effect.exit(Rego.resilient(Effect.fail(error), "users.Get"))
        yield* Ref.set(read, reads)
        yield* Observer.flush
      }).pipe(Effect.provide(Observer.layer([observer])), (self) => under(self, policiesOf({})))
      assert.strictEqual(yield* Ref.get(read), 0)
      assert.deepStrictEqual(heard, ["Error: text"])
    }))

  it.effect("runs in the asynchronous context of its layer, and not in that of a call", () =>
    Effect.gen(function*() {
      const storage = new AsyncLocalStorage<string>()
      const stores: Array<string | undefined> = []
      const observer = Observer.make({ onCallEnd: () => void stores.push(storage.getStore()) })
      yield* Effect.gen(function*() {
        const context = yield* Effect.context<never>()
        const provider = yield* Layer.build(PolicyLayer.defaults)
        storage.run("a request", () => {
          Effect.runSyncWith(Context.merge(context, provider))(call)
        })
        yield* Observer.flush
      }).pipe(Effect.scoped, Effect.provide(Observer.layer([observer])))
      assert.deepStrictEqual(stores, [undefined])
    }))

  it.live("says the same times as the timeline, on the clock of the host as well", () =>
    Effect.gen(function*() {
      const ends: Array<number> = []
      const timelines: Array<Timeline.Timeline> = []
      const observer = Observer.make({
        onEvent: (event) => void (event._tag === "AttemptEnded" && ends.push(event.startedAt, event.at)),
        onCallEnd: (timeline) => void timelines.push(timeline)
      })
      yield* run(Observer.layer([observer]))
      const [attempt] = timelines[0]!.attempts
      assert.deepStrictEqual(ends, [attempt!.startedAt, attempt!.endedAt])
    }))
})
