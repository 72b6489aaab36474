/**
 * What is timed: every subject in every group it runs in.
 */
import { Effect, ManagedRuntime } from "effect"
import type { Context } from "effect"
import type { Loopback } from "./loopback.ts"
import type { Operation, Source } from "./operations.ts"
import { operationOf } from "./operations.ts"
import { Policies } from "./policies.ts"
import type { EffectSubject, PromiseSubject, Services, Subject } from "./subjects.ts"
import { runsIn, subjects } from "./subjects.ts"

/**
 * `request`: as in a program, the effect is made anew for each call, inside a span and a scope of the caller.
 * `constant`: one effect is made once and called over and over.
 */
export type Shape = "request" | "constant"

/**
 * `fiber`: one call after the other in one fiber. `fibers`: the same in 64 at a time. `outside`: each call is an
 * `Effect.runPromiseWith` of its own that is awaited; there is no fiber whose span and scope it could have. `runtime`: the
 * same through a `ManagedRuntime`, which keeps account of what it runs.
 */
export type From = "fiber" | "fibers" | "outside" | "runtime"

export interface Group {
  readonly source: Source
  readonly shape: Shape
  readonly from: From
}

/** What cases run in. */
export interface Host {
  readonly runtime: ManagedRuntime.ManagedRuntime<Services, never>
  /** that of the runtime */
  readonly context: Context.Context<Services>
  readonly loopback: Loopback
}

export const hostOf = async (loopback: Loopback): Promise<Host> => {
  const runtime = ManagedRuntime.make(Policies)
  return { runtime, context: await runtime.context(), loopback }
}

export interface Case {
  readonly id: string
  /** calls of a round; found while warming up, unless given */
  readonly calls?: number
  readonly run: (host: Host, calls: number) => Promise<void>
  /** what stands around a round and is not timed; the answer takes it down */
  readonly setUp?: (host: Host) => Promise<() => Promise<void>>
}

export const groups = {
  request: { source: "promise", shape: "request", from: "fiber" },
  constant: { source: "promise", shape: "constant", from: "fiber" },
  fibers: { source: "promise", shape: "request", from: "fibers" },
  outside: { source: "promise", shape: "request", from: "outside" },
  runtime: { source: "promise", shape: "request", from: "runtime" },
  sync: { source: "sync", shape: "request", from: "fiber" },
  syncConstant: { source: "sync", shape: "constant", from: "fiber" },
  failing: { source: "failing", shape: "request", from: "fiber" },
  http: { source: "http", shape: "request", from: "fiber" }
} as const satisfies Readonly<Record<string, Group>>

export const idOf = ({ from, shape, source }: Group, subject: string): string => `${source}/${shape}/${from}/${subject}`

// -----------------------------------------------------------------------------
// loops
// -----------------------------------------------------------------------------

type Program = Effect.Effect<unknown, unknown, Services>

const asProgram = (subject: Subject, operation: Operation): Program =>
  "effect" in subject
    ? subject.effect(operation.effect())
    : Effect.promise(() => subject.promise(operation.promise()))

const around = <A, E, R>(subject: Subject, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  "effect" in subject && subject.around !== undefined ? subject.around(self) : self

interface Count {
  left: number
}

const repeat = (count: Count, call: () => Program): Effect.Effect<void, never, Services> =>
  Effect.orDie(Effect.whileLoop({ while: () => count.left-- > 0, body: call, step: () => {} }))

const inRequest = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.scoped(Effect.withSpan(self, "request"))

const concurrency = 64

/** Fibers that share the calls. */
const inFibers = (calls: number, call: () => Program) => {
  const count = { left: calls }
  const fibers = Array.from({ length: concurrency }, () => repeat(count, call))
  return Effect.all(fibers, { concurrency: "unbounded", discard: true })
}

const fromFiber = (subject: Subject, { shape, source }: Group): Case["run"] => {
  let constant: Program | undefined
  return ({ loopback, runtime }, calls) => {
    const operation = operationOf(source, loopback)
    const count = { left: calls }
    if (shape === "request") {
      return runtime.runPromise(inRequest(around(subject, repeat(count, () => asProgram(subject, operation)))))
    }
    constant ??= asProgram(subject, operation)
    const same = constant
    return runtime.runPromise(repeat(count, () => same))
  }
}

const fromFibers = (subject: Subject, { source }: Group): Case["run"] => ({ loopback, runtime }, calls) => {
  const operation = operationOf(source, loopback)
  return runtime.runPromise(inRequest(inFibers(calls, () => asProgram(subject, operation))))
}

type Run = (program: Program) => Promise<unknown>

const effectsFromOutside =
  ({ effect }: EffectSubject, { source }: Group, runOf: (host: Host) => Run): Case["run"] => async (host, calls) => {
    const operation = operationOf(source, host.loopback)
    const run = runOf(host)
    for (let i = 0; i < calls; i++) await run(effect(operation.effect()))
  }

const withContext = ({ context }: Host): Run => Effect.runPromiseWith(context)
const throughRuntime = ({ runtime }: Host): Run => (program) => runtime.runPromise(program)

const promisesFromOutside =
  ({ promise }: PromiseSubject, { source }: Group): Case["run"] => async ({ loopback }, calls) => {
    const operation = operationOf(source, loopback)
    for (let i = 0; i < calls; i++) await promise(operation.promise())
  }

const fromOutside = (subject: Subject, group: Group, runOf: (host: Host) => Run): Case["run"] =>
  "effect" in subject ? effectsFromOutside(subject, group, runOf) : promisesFromOutside(subject, group)

const loopOf = (subject: Subject, group: Group): Case["run"] => {
  switch (group.from) {
    case "fiber":
      return fromFiber(subject, group)
    case "fibers":
      return fromFibers(subject, group)
    case "outside":
      return fromOutside(subject, group, withContext)
    case "runtime":
      return fromOutside(subject, group, throughRuntime)
  }
}

// -----------------------------------------------------------------------------
// cases
// -----------------------------------------------------------------------------

/**
 * A request takes so long that few would fill a slice, and a run would end before the compilers are done with what makes
 * it: the ratio to a bare request falls over the first ten thousand, and a program makes more.
 */
const requestsOfRound = 1_000

const caseOf = (subject: Subject, group: Group): Case => {
  const it = { id: idOf(group, subject.name), run: loopOf(subject, group) }
  return group.source === "http" ? { ...it, calls: requestsOfRound } : it
}

export const cases: ReadonlyArray<Case> = Object.values(groups).flatMap((group) =>
  subjects.filter((subject) => runsIn(subject, group)).map((subject) => caseOf(subject, group))
)
