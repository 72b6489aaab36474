import { describe } from "@effect/vitest"
import { Observer } from "@rego/core"
import { ObserverLaws } from "@rego/testing"
import { Effect, Metric } from "effect"
import type { BrokenPart } from "./support.ts"
import { holds, notices, seed } from "./support.ts"

const suiteOf = (observer: Observer.Observer) => ObserverLaws.make(Effect.succeed(observer), { seed })

const nothing = () => {}

const [usable, takes, leaves] = suiteOf({ onEvent: nothing }).map(({ name }) => name)

const broken = (what: string, breaks: string, observer: Observer.Observer): BrokenPart => ({
  what,
  breaks: [breaks],
  suite: suiteOf(observer)
})

const counter = Metric.counter("test.attempts")

describe("ObserverLaws", () => {
  holds("one that counts", suiteOf({ name: "count", onEvent: () => Metric.update(counter, 1) }))
  holds("one that takes its time", suiteOf({ onCallEnd: () => Effect.sleep("1 second") }))
  holds(
    "one that reads what may be there",
    suiteOf(Observer.make({
      onEvent: (event) => event._tag === "AttemptEnded" ? void event.error?.length : undefined,
      onCallEnd: ({ attempts }) => void attempts.at(-1)?.outcome
    }))
  )

  notices(suiteOf({ onEvent: nothing }), [
    broken("listens to nothing", usable!, { name: "deaf" }),
    broken("has no name", usable!, { name: "", onEvent: nothing }),
    broken("has room for nothing", usable!, { capacity: 0, onEvent: nothing }),
    broken("expects an error in every attempt", takes!, {
      onEvent: (event) => event._tag === "AttemptEnded" ? void event.error!.length : undefined
    }),
    broken("expects an attempt in every call", takes!, { onCallEnd: ({ attempts }) => void attempts[0]!.startedAt }),
    broken("dies", takes!, { onEvent: () => Effect.die("bug") }),
    broken("hangs", takes!, { onCallEnd: () => Effect.never }),
    broken("sorts the attempts in place", leaves!, {
      onCallEnd: ({ attempts }) => {
        ;(attempts as Array<unknown>).reverse()
      }
    }),
    broken("writes on events", leaves!, {
      onEvent: (event) => {
        Object.assign(event, { seen: true })
      }
    })
  ])
})
