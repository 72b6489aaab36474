/**
 * What every source of policy documents must do, whoever made it: the contract of `PolicySource`.
 *
 * **When to use**
 *
 * For a source of your own. Give `make` its layer and register a test for each law: see `Law`. Say how a document is
 * published, and how the origin goes down and comes back, and there are laws for that, too.
 *
 * **Example** (A source that ends)
 *
 * ```ts
 * import { PolicySource } from "@rego/core"
 * import { Law, PolicySourceLaws } from "@rego/testing"
 * import { Effect, Layer, Stream } from "effect"
 *
 * const document = PolicySource.document({ schemaVersion: "1.0", revision: "7", policies: {} })
 * const source = (found: Stream.Stream<PolicySource.Found>) =>
 *   Layer.succeed(PolicySource.PolicySource, PolicySource.make({ name: "own", found }))
 *
 * const steady = source(Stream.concat(Stream.make(document), Stream.never))
 * await Effect.runPromise(Law.broken(PolicySourceLaws.make(steady))) // => []
 *
 * const broken = await Effect.runPromise(Law.broken(PolicySourceLaws.make(source(Stream.make(document)))))
 * broken.map(({ name }) => name) // => ["neither fails nor ends"]
 * ```
 *
 * @since 0.1.0
 */
import { PolicySource } from "@rego/core"
import type { Exit, Fiber, Scope } from "effect"
import { Context, Duration, Effect, Equal, Layer, Option, Stream } from "effect"
import { TestClock } from "effect/testing"
import { fail, isTrue, show } from "./AssertionError.ts"
import * as Law from "./Law.ts"

/**
 * How the origin of the source is moved. Without it the laws that need it are left out.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<R = never> extends Law.SeedOptions {
  /** puts a document where the source looks for it */
  readonly publish?: ((json: unknown) => Effect.Effect<void, never, R>) | undefined
  /** makes the origin unreachable; given together with `up` */
  readonly down?: Effect.Effect<void, never, R> | undefined
  /** makes it reachable again */
  readonly up?: Effect.Effect<void, never, R> | undefined
  /** how long the source may take to find something. Default 10 seconds */
  readonly within?: Duration.Input | undefined
  /** `"live"` for a source that speaks to something real. Default `"test"`: virtual time */
  readonly clock?: "test" | "live" | undefined
  /** texts that must not be shown: tokens, passwords */
  readonly secrets?: ReadonlyArray<string> | undefined
}

// -----------------------------------------------------------------------------
// listening
// -----------------------------------------------------------------------------

type Source = PolicySource.PolicySource["Service"]

/** What a law works with: the source, and the world around it. */
interface World {
  readonly source: Source
  readonly within: Duration.Duration
  readonly secrets: ReadonlyArray<string>
  /** lets a little time pass */
  readonly pass: Effect.Effect<void>
  readonly steps: number
  readonly publish: (json: unknown) => Effect.Effect<void>
  readonly down: Effect.Effect<void>
  readonly up: Effect.Effect<void>
}

interface Heard {
  readonly found: Array<PolicySource.Found>
  readonly fiber: Fiber.Fiber<void>
  readonly exit: () => Exit.Exit<void> | undefined
}

/** Told to stop when the law is over, and not waited for: a source that does not stop must not stop the suite. */
const inBackground = <A>(self: Effect.Effect<A>): Effect.Effect<Fiber.Fiber<A>, never, Scope.Scope> =>
  Effect.tap(
    Effect.forkDetach(self, { startImmediately: true }),
    (fiber) => Effect.addFinalizer(() => Effect.sync(() => fiber.interruptUnsafe()))
  )

const listen = ({ source }: World): Effect.Effect<Heard, never, Scope.Scope> =>
  Effect.gen(function*() {
    const found: Array<PolicySource.Found> = []
    const listening = Stream.runForEach(source.found, (each) => Effect.sync(() => found.push(each)))
    const fiber = yield* inBackground(listening)
    return { found, fiber, exit: () => fiber.pollUnsafe() }
  })

const eventually = (world: World, what: string, holds: () => boolean): Effect.Effect<void> =>
  Effect.gen(function*() {
    for (let i = 0; i < world.steps && !holds(); i++) yield* world.pass
    isTrue(holds(), `${what} within ${Duration.format(world.within)}`)
  })

const finishes = (world: World, what: string, self: Effect.Effect<unknown>): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const fiber = yield* inBackground(self)
    yield* eventually(world, `${what}: expected it to end`, () => fiber.pollUnsafe() !== undefined)
    const exit = fiber.pollUnsafe()!
    if (exit._tag === "Failure") fail(`${what}: ${show(exit.cause.reasons[0])}`)
  })

// -----------------------------------------------------------------------------
// laws
// -----------------------------------------------------------------------------

interface Check {
  readonly name: string
  readonly check: (world: World) => Effect.Effect<void, never, Scope.Scope>
}

const somethingToFind = ({ found }: Heard) => found.length > 0

const saysSomething: Check = {
  name: "says what it found, or why it found nothing",
  check: (world) =>
    Effect.gen(function*() {
      const heard = yield* listen(world)
      yield* eventually(world, "expected to hear of a document, or of a failure,", () => somethingToFind(heard))
      const [first] = heard.found
      isTrue(
        first!._tag === "Document" || (first!._tag === "Failed" && first!.error instanceof PolicySource.SourceError),
        `the first thing it says must be a document or a SourceError, is ${show(first)}`
      )
    })
}

const goesOn: Check = {
  name: "neither fails nor ends",
  check: (world) =>
    Effect.gen(function*() {
      const heard = yield* listen(world)
      for (let i = 0; i < world.steps; i++) {
        const exit = heard.exit()
        if (exit !== undefined) {
          return fail(
            exit._tag === "Success" ? "its stream has ended" : `its stream has died: ${show(exit.cause.reasons[0])}`
          )
        }
        yield* world.pass
      }
    })
}

const startsAgain: Check = {
  name: "stops when it is told to, and can be started again",
  check: (world) =>
    Effect.gen(function*() {
      const first = yield* listen(world)
      yield* eventually(world, "expected to hear something", () => somethingToFind(first))
      yield* finishes(world, "stopping", Effect.asVoid(Effect.exit(interrupt(first))))
      const second = yield* listen(world)
      yield* eventually(world, "expected to hear something again", () => somethingToFind(second))
    })
}

const interrupt = ({ fiber }: Heard): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    fiber.addObserver(() => resume(Effect.void))
    fiber.interruptUnsafe()
  })

const reports: ReadonlyArray<PolicySource.Report> = [
  { _tag: "Rejected", revision: Option.none(), issues: [{ path: ["policies", 0], message: "must be an object" }] },
  { _tag: "Rejected", revision: Option.some("7"), issues: [] },
  {
    _tag: "Accepted",
    revision: "8",
    rolledBack: true,
    clamped: [{ path: ["policies", "*", "retry", "maxAttempts"], value: 100, limit: 10 }],
    issues: []
  }
]

const takesReports: Check = {
  name: "takes every report, before it found anything and after",
  check: (world) =>
    Effect.gen(function*() {
      const tell = (report: PolicySource.Report) =>
        finishes(world, `the report ${report._tag}`, Effect.suspend(() => world.source.report(report)))
      yield* Effect.forEach(reports, tell)
      const heard = yield* listen(world)
      yield* eventually(world, "expected to hear something", () => somethingToFind(heard))
      yield* Effect.forEach(reports, tell)
    })
}

const textOf = (found: PolicySource.Found): ReadonlyArray<string> =>
  found._tag === "Failed" ? [found.error.message, JSON.stringify(found.error.reason)] : []

const keepsSecrets: Check = {
  name: "has a name, and shows no secret",
  check: (world) =>
    Effect.gen(function*() {
      const { secrets, source } = world
      isTrue(
        typeof source.name === "string" && source.name.trim() !== "",
        `a name must be a text, is ${show(source.name)}`
      )
      const heard = yield* listen(world)
      yield* eventually(world, "expected to hear something", () => somethingToFind(heard))
      yield* world.down
      for (let i = 0; i < world.steps && secrets.length > 0; i++) yield* world.pass
      const shown = [source.name, ...heard.found.flatMap(textOf)]
      for (const text of shown) {
        isTrue(secrets.every((secret) => !text.includes(secret)), `it shows a secret: ${show(text)}`)
      }
    })
}

const documentOf = (revision: string) => ({
  schemaVersion: "1.0",
  revision,
  policies: { "laws.Get": { retry: { maxAttempts: 2 } } }
})

const hasFound = ({ found }: Heard, json: unknown): boolean =>
  found.some((each) => each._tag === "Document" && Equal.equals(each.json, json))

const findsNew: Check = {
  name: "finds what is published, as it is, and what replaces it",
  check: (world) =>
    Effect.gen(function*() {
      const heard = yield* listen(world)
      for (const revision of ["laws-1", "laws-2", "laws-3"]) {
        const json = documentOf(revision)
        yield* world.publish(json)
        yield* eventually(world, `expected to find the document ${revision}`, () => hasFound(heard, json))
      }
    })
}

const comesBack: Check = {
  name: "says that its origin is down, and goes on when it is back",
  check: (world) =>
    Effect.gen(function*() {
      const heard = yield* listen(world)
      yield* eventually(world, "expected to hear something", () => somethingToFind(heard))
      yield* world.down
      const before = heard.found.length
      const failures = () => heard.found.slice(before).filter(({ _tag }) => _tag === "Failed").length
      yield* eventually(world, "expected to hear of a failure", () => failures() > 0)
      yield* world.up
      const until = heard.found.length
      const back = () => heard.found.slice(until).some(({ _tag }) => _tag !== "Failed")
      yield* eventually(world, "expected to hear that it is back", back)
      isTrue(heard.exit() === undefined, "its stream has ended")
    })
}

// -----------------------------------------------------------------------------
// suite
// -----------------------------------------------------------------------------

const stepMillis = { test: 250, live: 20 } as const

const worldOf = <R>(
  layer: Layer.Layer<PolicySource.PolicySource | R>,
  options: Options<R>
): Effect.Effect<World, never, Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Layer.build(layer)
    const { clock = "test", down = Effect.void, publish = () => Effect.void, secrets = [], up = Effect.void } = options
    const within = Duration.fromInputUnsafe(options.within ?? "10 seconds")
    const step = stepMillis[clock]
    const here = (self: Effect.Effect<void, never, R>) => Effect.provideContext(self, context as Context.Context<R>)
    return {
      source: Context.get(context as Context.Context<PolicySource.PolicySource>, PolicySource.PolicySource),
      within,
      secrets,
      pass: clock === "test" ? TestClock.adjust(step) : Effect.sleep(step),
      steps: Math.max(4, Math.ceil(Duration.toMillis(within) / step)),
      publish: (json) => here(publish(json)),
      down: here(down),
      up: here(up)
    }
  })

/**
 * A law for each thing that a source must do. The layer is built anew for each law; `R` is what `publish`, `down` and `up`
 * need of it.
 *
 * **Gotchas**
 *
 * With `clock: "live"` register the laws with `it.live`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <R = never>(
  layer: Layer.Layer<PolicySource.PolicySource | R>,
  options: Options<R> = {}
): ReadonlyArray<Law.Law> => {
  if ((options.down === undefined) !== (options.up === undefined)) {
    throw new RangeError("PolicySourceLaws.make: down and up must be given together")
  }
  const checks = [
    saysSomething,
    goesOn,
    startsAgain,
    takesReports,
    keepsSecrets,
    ...options.publish === undefined ? [] : [findsNew],
    ...options.down === undefined ? [] : [comesBack]
  ]
  return checks.map(({ check, name }) => {
    const checked = Effect.flatMap(worldOf(layer, options), check)
    return options.clock === "live" ? Law.makeLive(name, checked) : Law.make(name, checked, options)
  })
}
