/**
 * What must infer, and what must not compile. Checked by `tsc -b`; nothing here runs.
 *
 * Brought over from the typed sketch of the public API. What the sketch shows of observers and of `PolicyLayer.fetch`
 * comes here with those modules.
 */
import type { PolicyProvider, RegoError } from "@rego/core"
import {
  Attempt,
  Backoff,
  Budget,
  Classifier,
  Deadline,
  Hedge,
  Outcome,
  Policy,
  PolicyLayer,
  Rego,
  Timeline
} from "@rego/core"
import * as BudgetShared from "@rego/core/BudgetShared"
import type { Scope } from "effect"
import { Cause, Context, Data, Duration, Effect, Exit, flow, Layer, ManagedRuntime, Option, Schedule } from "effect"
import type { HttpClientError, HttpClientRequest } from "effect/http"
import { HttpClient } from "effect/http"
import type { RateLimiter } from "effect/persistence"

// ------------------------------------------------------------------ helpers: exact type equality, displayed in errors
type Equals<X, Y> = (<T>() => T extends X ? 1 : 2) extends <T>() => T extends Y ? 1 : 2 ? true : false
const is = <_T extends true>(): void => {}
type PP = PolicyProvider.PolicyProvider
type RE = RegoError.RegoError

// ------------------------------------------------------------------ a domain
interface User {
  readonly id: string
}
class HttpError extends Data.TaggedError("HttpError")<{
  readonly status: number
  readonly retryAfter?: Duration.Duration | undefined
}> {}
class DbError extends Data.TaggedError("DbError")<{ readonly code: "40001" | "23505" }> {}
class Db extends Context.Service<Db, { readonly user: (id: string) => Effect.Effect<User, DbError> }>()("Db") {}
declare const getUser: (id: string) => Effect.Effect<User, HttpError | DbError, Db>
declare const rawUser: Effect.Effect<User, HttpError | string, Db>

// ------------------------------------------------------------------ 1 call site: pipe, data-first, stored, flow, Effect.fn
const piped = (id: string) => getUser(id).pipe(Rego.resilient("user-service.GetUser"))
is<Equals<ReturnType<typeof piped>, Effect.Effect<User, HttpError | DbError | RE, Db | PP>>>()

const dataFirst = Rego.resilient(getUser("1"), "user-service.GetUser")
is<Equals<typeof dataFirst, Effect.Effect<User, HttpError | DbError | RE, Db | PP>>>()

const stored = Rego.resilient("user-service.GetUser")
const viaStored = getUser("1").pipe(stored)
is<Equals<typeof viaStored, Effect.Effect<User, HttpError | DbError | RE, Db | PP>>>()

const viaFlow = flow(getUser, Rego.resilient("user-service.GetUser", { idempotent: true }))
is<Equals<ReturnType<typeof viaFlow>, Effect.Effect<User, HttpError | DbError | RE, Db | PP>>>()

const viaFn = Effect.fn("getName")(
  function*(id: string) {
    const user = yield* getUser(id)
    return user.id.length
  },
  Rego.resilient("user-service.GetName", {
    classifier: Classifier.byTag({ HttpError: Outcome.nonRetryable({ reason: "no" }) })
  })
)
is<Equals<ReturnType<typeof viaFn>, Effect.Effect<number, HttpError | DbError | RE, Db | PP>>>()

// ------------------------------------------------------------------ 2 options.classifier typed by A and E
const lambda = getUser("1").pipe(Rego.resilient("k.A", {
  classifier: (exit) => {
    if (Exit.isSuccess(exit)) return exit.value.id === "" ? Outcome.retryable({ reason: "empty" }) : Outcome.success
    const error = Cause.findErrorOption(exit.cause)
    if (Option.isNone(error)) return undefined
    switch (error.value._tag) {
      case "HttpError":
        // `retryAfter` is `Duration | undefined` here
        return Outcome.retryable({
          reason: `http_${error.value.status}`,
          retryAfter: error.value.retryAfter,
          executed: "no"
        })
      case "DbError":
        return error.value.code === "40001"
          ? Outcome.retryable({ reason: "serialization" })
          : Outcome.nonRetryable({ reason: "conflict" })
      case "RegoError":
        return error.value.reason._tag === "AttemptTimedOut" ? Outcome.retryable({ reason: "slow" }) : undefined
    }
  }
}))
is<Equals<typeof lambda, Effect.Effect<User, HttpError | DbError | RE, Db | PP>>>()

const byTagUnion = getUser("1").pipe(Rego.resilient("k.B", {
  idempotent: true,
  classifier: Classifier.byTag({
    HttpError: (e) => e.status >= 500 ? Outcome.retryable({ reason: "5xx", retryAfter: e.retryAfter }) : undefined,
    DbError: Outcome.nonRetryable({ reason: "db" }),
    RegoError: (e) => e.reason._tag === "DeadlineExceeded" ? Outcome.nonRetryable({ reason: "deadline" }) : undefined
  })
}))
is<Equals<typeof byTagUnion, Effect.Effect<User, HttpError | DbError | RE, Db | PP>>>()

// an error union with a member that has no tag
const untagged = rawUser.pipe(
  Rego.resilient("k.C", {
    classifier: Classifier.byTag({ HttpError: (e) => Outcome.retryable({ reason: String(e.status) }) })
  })
)
is<Equals<typeof untagged, Effect.Effect<User, HttpError | string | RE, Db | PP>>>()

// reusable classifiers, wider than the call: A and E are kept
const stripe = Classifier.byTag<HttpError>({
  HttpError: (e) => e.status === 429 ? Outcome.retryable({ reason: "rate", executed: "no" }) : undefined
})
const wide = getUser("1").pipe(Rego.resilient("k.D", { classifier: Classifier.typedFailures }))
is<Equals<typeof wide, Effect.Effect<User, HttpError | DbError | RE, Db | PP>>>()
const chained = getUser("1").pipe(Rego.resilient("k.E", {
  classifier: Classifier.orElse(
    Classifier.byTag({ DbError: (e) => Outcome.retryable({ reason: e.code }) }),
    Classifier.typedFailures
  )
}))
is<Equals<typeof chained, Effect.Effect<User, HttpError | DbError | RE, Db | PP>>>()
// data-first on its own
declare const ofA: Classifier.Classifier<unknown, HttpError>
const combined = Classifier.orElse(ofA, stripe)
is<Equals<typeof combined, Classifier.Classifier<unknown, HttpError>>>()
const dataFirstByTag = Rego.resilient(getUser("1"), "k.F", {
  classifier: Classifier.byTag({ HttpError: (e) => Outcome.retryable({ reason: String(e.status) }) })
})
is<Equals<typeof dataFirstByTag, Effect.Effect<User, HttpError | DbError | RE, Db | PP>>>()

// @ts-expect-error a tag that the effect cannot fail with
getUser("1").pipe(Rego.resilient("k.G", { classifier: Classifier.byTag({ HtpError: Outcome.success }) }))
// @ts-expect-error a classifier that is narrower than the effect
getUser("1").pipe(Rego.resilient("k.H", { classifier: stripe }))
// @ts-expect-error an unknown option
getUser("1").pipe(Rego.resilient("k.I", { idempotnt: true }))

// onDiscard is typed by A
const discard = getUser("1").pipe(Rego.resilient("k.J", { onDiscard: (user) => Effect.log(user.id) }))
is<Equals<typeof discard, Effect.Effect<User, HttpError | DbError | RE, Db | PP>>>()

// ------------------------------------------------------------------ 3 E and R are kept, Scope included
const scoped = Effect.acquireRelease(getUser("1"), () => Effect.void).pipe(Rego.resilient("k.K"))
is<Equals<typeof scoped, Effect.Effect<User, HttpError | DbError | RE, Db | PP | Scope.Scope>>>()
const noError = Effect.succeed(1).pipe(Rego.resilient("k.L"))
is<Equals<typeof noError, Effect.Effect<number, RE, PP>>>()

// ------------------------------------------------------------------ 4 policies and layers
const Policies = PolicyLayer.make({
  policies: {
    "user-service.GetUser": {
      retry: { maxAttempts: 4, backoff: Backoff.exponential({ initial: "10 millis", max: "250 millis" }) },
      timeout: { perAttempt: "200 millis", overall: "1 second" },
      hedge: { trigger: Hedge.quantile(0.95), maxHedges: 1 }
    },
    // any Schedule is a backoff, any Schedule is a trigger
    "k.Schedule": {
      retry: { backoff: Schedule.max([Schedule.exponential("10 millis"), Schedule.recurs(3)]) },
      hedge: { trigger: Schedule.spaced("20 millis") }
    },
    "k.Typed": {
      retry: {
        backoff: Schedule.identity<Backoff.Input>().pipe(
          Schedule.modifyDelay(({ input }) => Effect.succeed(input.outcome.retryAfter ?? Duration.millis(5)))
        )
      },
      hedge: {
        trigger: Schedule.identity<Hedge.State>().pipe(
          Schedule.modifyDelay(({ input }) =>
            Effect.succeed(Option.getOrElse(input.latency.quantile(0.9), () => Duration.millis(50)))
          )
        )
      }
    },
    "payments.*": { budget: { name: "payments", hedgeCost: 2 }, hedge: "off" },
    "payments.Charge": { classifier: "stripe", idempotent: false, budget: "payments" },
    "search.*": { hedge: { trigger: "p95" }, budget: "unlimited" }
  },
  defaults: { retry: { maxAttempts: 2 } },
  onMissing: "defaults"
})
is<
  Equals<
    typeof Policies,
    Layer.Layer<PP, Policy.PolicyInvalid, Budget.Named<"payments"> | Classifier.Named<"stripe"> | Hedge.Named<"p95">>
  >
>()

const Live = Policies.pipe(Layer.provide([
  Budget.layer(
    "payments",
    Budget.all(Budget.ratio({ ratio: 0.1 }), Budget.tokenBucket({ capacity: 10, refillPerSecond: 1 })),
    { scope: "shared" }
  ),
  Classifier.layer({ stripe }),
  Hedge.layer({ p95: Hedge.quantile(0.95, { minSamples: 50, fallback: "100 millis" }) })
]))
is<Equals<typeof Live, Layer.Layer<PP, Policy.PolicyInvalid>>>()

// a recipe that needs a service passes the requirement on to its layer: a budget for the whole fleet, a RateLimiter
const limited = BudgetShared.make({ limit: 100, window: "1 second" })
const Fleet = Budget.layer("fleet", limited)
is<Equals<typeof Fleet, Layer.Layer<Budget.Named<"fleet">, never, RateLimiter.RateLimiter>>>()
const Many = Budget.layers({ a: Budget.ratio(), b: limited })
is<Equals<typeof Many, Layer.Layer<Budget.Named<"a"> | Budget.Named<"b">, never, RateLimiter.RateLimiter>>>()
// a layer of several satisfies policies that use some of them
const Several = PolicyLayer.make({
  policies: { "a.B": { budget: "a", classifier: "c", hedge: { trigger: "t" } }, "c.D": { budget: "b" } }
}).pipe(
  Layer.provide([
    Budget.layers({ a: Budget.ratio(), b: Budget.none, unused: Budget.none }),
    Classifier.layer({ c: Classifier.never, d: Classifier.never }),
    Hedge.layer({ t: Hedge.after(1), u: Hedge.after(2) })
  ])
)
is<Equals<typeof Several, Layer.Layer<PP, Policy.PolicyInvalid>>>()

// Policy.make keeps the names it uses
const charge = Policy.make({ budget: "payments", classifier: "stripe" })
is<Equals<typeof charge, Policy.Policy<Budget.Named<"payments"> | Classifier.Named<"stripe">>>>()
const Mixed = PolicyLayer.make({
  policies: { "payments.Charge": charge, "a.B": Policy.http, "c.D": { budget: "fleet" } }
})
is<
  Equals<
    typeof Mixed,
    Layer.Layer<PP, Policy.PolicyInvalid, Budget.Named<"payments"> | Classifier.Named<"stripe"> | Budget.Named<"fleet">>
  >
>()
// names that are not literals are checked at boot
declare const name: string
const Dynamic = PolicyLayer.make({ policies: { "a.B": { budget: name, classifier: name } } })
is<Equals<typeof Dynamic, Layer.Layer<PP, Policy.PolicyInvalid>>>()
// the reserved names require nothing
const Reserved = PolicyLayer.make({ policies: { "a.B": { budget: "default" }, "a.C": { budget: "none" } } })
is<Equals<typeof Reserved, Layer.Layer<PP, Policy.PolicyInvalid>>>()

// ------------------------------------------------------------------ 5 wrong literals
// @ts-expect-error field name
PolicyLayer.make({ policies: { "a.B": { retry: { maxAtempts: 3 } } } })
// @ts-expect-error section name
PolicyLayer.make({ policies: { "a.B": { rety: {} } } })
// @ts-expect-error duration unit
PolicyLayer.make({ policies: { "a.B": { timeout: { perAttempt: "3 parsecs" } } } })
// @ts-expect-error a number where a backoff is due
PolicyLayer.make({ policies: { "a.B": { retry: { backoff: 10 } } } })
const needsService = Schedule.spaced(1).pipe(Schedule.tap(() => Effect.asVoid(Db)))
// @ts-expect-error a schedule which needs a service
PolicyLayer.make({ policies: { "a.B": { retry: { backoff: needsService } } } })
// @ts-expect-error onMissing
PolicyLayer.make({ policies: {}, onMissing: "throw" })
// @ts-expect-error jitter
Backoff.exponential({ initial: 1, max: 2, jitter: "some" })
// @ts-expect-error a constant wait has nothing to decorrelate from
Backoff.constant(1, { jitter: "decorrelated" })
// @ts-expect-error hedge without a trigger
Policy.make({ hedge: { maxHedges: 1 } })
// @ts-expect-error concurrency needs ratio or max
Budget.concurrency({ min: 1 })
// @ts-expect-error a budget section without a name
Policy.make({ budget: { retryCost: 2 } })

// ------------------------------------------------------------------ 6 forgetting a layer
const program = piped("1").pipe(Effect.provide(Layer.succeed(Db, { user: (id) => Effect.succeed({ id }) })))
// @ts-expect-error PolicyProvider is missing
Effect.runPromise(program)
Effect.runPromise(program.pipe(Effect.provide(Live)))
// @ts-expect-error the policies name a budget, a classifier and a trigger that nobody provides
Effect.runPromise(program.pipe(Effect.provide(Policies)))
// @ts-expect-error merging beside does not feed the policy layer: the type says so
Effect.runPromise(program.pipe(Effect.provide(Layer.mergeAll(Policies, Classifier.layer({ stripe })))))

// ------------------------------------------------------------------ 7 errors
const recovered = piped("1").pipe(
  Effect.catchReason("RegoError", "DeadlineExceeded", (reason, error) => {
    const attempts: number = reason.attempts
    const key: string = error.key
    return Effect.succeed({ id: `${key} gave up after ${attempts}` })
  }),
  Effect.catchReason("RegoError", "AdmissionDenied", (reason) => Effect.succeed({ id: reason.detail })),
  Effect.catchTag("HttpError", (e) => Effect.succeed({ id: String(e.status) }))
)
is<Equals<Effect.Error<typeof recovered>, DbError | RE>>()
const allReasons = piped("1").pipe(
  Effect.catchReasons("RegoError", {
    DeadlineExceeded: () => Effect.succeed(undefined),
    AttemptTimedOut: (r) => Effect.succeed(r.attempt.retry),
    AdmissionDenied: () => Effect.succeed(undefined),
    PolicyMissing: () => Effect.succeed(undefined)
  })
)
void allReasons
// @ts-expect-error a reason that does not exist
piped("1").pipe(Effect.catchReason("RegoError", "BudgetExhausted", () => Effect.void))

// ------------------------------------------------------------------ 8 a service whose methods are wrapped
// (a) PolicyProvider leaks into the service's own methods
export class LeakyUsers extends Context.Service<LeakyUsers, {
  readonly get: (id: string) => Effect.Effect<User, HttpError | DbError | RE, PP>
}>()("LeakyUsers") {
  static readonly layer = Layer.effect(
    LeakyUsers,
    Effect.map(Db, (db) => ({ get: (id: string) => db.user(id).pipe(Rego.resilient("users.Get")) }))
  )
}
// and a client carries the requirement on every request
const leakyClient = (client: HttpClient.HttpClient) =>
  HttpClient.transform(client, (effect, request) => Rego.resilient(effect, `http.${request.method}`))
is<Equals<ReturnType<typeof leakyClient>, HttpClient.HttpClient.With<HttpClientError.HttpClientError | RE, PP>>>()
// @ts-expect-error With<E | RegoError, PolicyProvider> is not the HttpClient service (E would be enough to say no)
const asClient: HttpClient.HttpClient = leakyClient(null as any)
void asClient

// (b) the operator is taken once, methods stay R = never
class Users extends Context.Service<Users, {
  readonly get: (id: string) => Effect.Effect<User, DbError | RE>
}>()("Users") {
  static readonly layer = Layer.effect(
    Users,
    Effect.gen(function*() {
      const db = yield* Db
      const resilient = yield* Rego.makeResilient
      return Users.of({
        get: (id) =>
          db.user(id).pipe(
            resilient("users.Get", {
              classifier: Classifier.byTag({ DbError: (e) => Outcome.retryable({ reason: e.code }) })
            })
          )
      })
    })
  )
}
is<Equals<typeof Users.layer, Layer.Layer<Users, never, Db | PP>>>()
const resilientClient = Effect.map(
  Rego.makeResilient,
  (resilient) => <E, R>(client: HttpClient.HttpClient.With<E, R>): HttpClient.HttpClient.With<E | RE, R> =>
    HttpClient.transform(
      client,
      (effect, request: HttpClientRequest.HttpClientRequest) => resilient(effect, `http.${request.method}`)
    )
)
void resilientClient

// ------------------------------------------------------------------ 9 timelines, attempts, deadlines, observers
const captured = Timeline.capture(Effect.all([piped("1"), piped("2")], { concurrency: "unbounded" }))
is<
  Equals<
    typeof captured,
    Effect.Effect<
      readonly [exit: Exit.Exit<[User, User], HttpError | DbError | RE>, timelines: ReadonlyArray<Timeline.Timeline>],
      never,
      Db | PP
    >
  >
>()
const withTimeline = Effect.gen(function*() {
  const [user, timeline] = yield* getUser("1").pipe(Rego.resilientWithTimeline("k.M"))
  yield* Effect.log(user.id, Timeline.render(timeline), timeline.attempts.length)
})
is<Equals<typeof withTimeline, Effect.Effect<void, HttpError | DbError | RE, Db | PP>>>()
const explain = piped("1").pipe(
  Effect.tapCause((cause) => Effect.forEach(Timeline.fromCause(cause), (t) => Effect.log(Timeline.render(t))))
)
void explain
const insideAnAttempt = Effect.gen(function*() {
  const attempt = yield* Attempt.CurrentAttempt
  const left = yield* Deadline.remaining
  return [Option.map(attempt, (a) => a.retry), left] as const
})
is<Equals<Effect.Services<typeof insideAnAttempt>, never>>()

const runtime = ManagedRuntime.make(Users.layer.pipe(
  Layer.provide(Layer.succeed(Db, { user: (id) => Effect.succeed({ id }) })),
  Layer.provideMerge(Live)
))
export const main = runtime.runPromise(Effect.flatMap(Users, (users) => users.get("1")))

// ------------------------------------------------------------------ 10 extending: a budget of one's own
const everyOther: Budget.Make = Effect.sync(() => {
  let n = 0
  return {
    tryAcquire: () =>
      ++n % 2 === 0
        ? {
          _tag: "Granted",
          permit: {
            settle: (use) => {
              if (use === "unused") n--
            }
          }
        }
        : { _tag: "Denied", reason: "odd" },
    state: Effect.sync(() => ({ balance: n }))
  }
})
export const Own = Budget.layer("own", everyOther, { scope: "shared" })
