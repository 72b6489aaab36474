/** Calls for the pages of `DebugRoutes`: one of each kind, and one in which everything that can hold text is an attack. */
import type { Observer } from "@rego/core"
import { Timeline } from "@rego/core"
import { DebugRoutes } from "@rego/http"
import { Effect, Layer } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { loopback } from "../../core/test/loopback.ts"

export const hostile =
  `"><script>document.title="owned"</script><img src=x onerror="document.title='owned'">\u202E\u001b`

const base = 1_900_000_000_000

const attempt = (fields: Partial<ConstructorParameters<typeof Timeline.AttemptRecord>[0]>) =>
  new Timeline.AttemptRecord({
    attempt: { retry: 0, hedge: 0 },
    startedAt: base,
    endedAt: base + 40,
    endedBy: "returned",
    ...fields
  })

const timelineOf = (fields: Partial<ConstructorParameters<typeof Timeline.Timeline>[0]>) =>
  new Timeline.Timeline({
    key: "users.Get",
    policyRevision: "7",
    policySource: "live",
    startedAt: base,
    endedAt: base + 40,
    attempts: [attempt({ outcome: "Success" })],
    decisions: [],
    result: "success",
    attributes: {},
    ...fields
  })

/** A quick success, a race that a hedge won, a failure, and the attack: each ended later than the one before. */
export const timelines: ReadonlyArray<Timeline.Timeline> = [
  timelineOf({}),
  timelineOf({
    key: "prices.Get",
    endedAt: base + 400,
    attempts: [
      attempt({ endedAt: base + 400, endedBy: "interrupted_loser" }),
      attempt({ attempt: { retry: 0, hedge: 1 }, startedAt: base + 300, endedAt: base + 400, outcome: "Success" })
    ]
  }),
  timelineOf({
    key: "stock.Get",
    endedAt: base + 900,
    attempts: [attempt({ outcome: "Retryable", reason: "http_503", error: "StatusCode: 503" })],
    decisions: [{ _tag: "Stopped", at: base + 900, reason: "budget_denied" }],
    result: "failure"
  }),
  timelineOf({
    key: hostile,
    policyRevision: hostile,
    endedAt: base + 1_000,
    attempts: [attempt({ outcome: "Retryable", reason: hostile, error: hostile })],
    attributes: { override: hostile },
    result: "defect"
  })
]

export const fill = (recent: Observer.Recent) =>
  Effect.sync(() => timelines.forEach((timeline) => recent.onCallEnd(timeline)))

/** The routes on a real server of this machine, and a client that knows its address. */
export const server = (options: DebugRoutes.Options) =>
  HttpRouter.serve(DebugRoutes.layer(options), { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(loopback)
  )

export const address = HttpServer.addressFormattedWith(Effect.succeed)
