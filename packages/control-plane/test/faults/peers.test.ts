/**
 * What goes wrong in other control planes and their clients, reversed. Rows that are proved elsewhere are not repeated: an
 * outage of the source that becomes one of the calls, a refused sign-in that a cache hides, values that are stale and do not
 * say so (`http.test.ts`), a start without the source (`boot.test.ts`).
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import type { Provider } from "@openfeature/server-sdk"
import { ErrorCode, OpenFeature } from "@openfeature/server-sdk"
import { LastKnownGood } from "@rego/core"
import { Effect, Layer, Option } from "effect"
import { FetchHttpClient } from "effect/http"
import { join } from "node:path"
import * as HttpSource from "../../src/HttpSource.ts"
import * as LastKnownGoodStore from "../../src/LastKnownGoodStore.ts"
import * as OpenFeatureSource from "../../src/OpenFeatureSource.ts"
import * as Files from "../files.ts"
import * as Origin from "../originServer.ts"
import { eventually } from "../support.ts"
import { documentOf, isLive, reasonOf, start } from "./support.ts"

const quick = { interval: "20 millis", longPoll: "off", backoff: { initial: "10 millis", max: "20 millis" } } as const

const sourceAt = (url: string) => HttpSource.layer({ url, ...quick }).pipe(Layer.provide(FetchHttpClient.layer))

describe("the reverse of peers' defects", () => {
  it.live(
    "a document whose fetch failed is fetched again, though nothing changes at the server",
    () =>
      Effect.gen(function*() {
        const server = yield* Origin.make
        server.answer(Origin.withEtag(documentOf("1", 2), "\"1\""))
        const process = yield* start(sourceAt(server.url))
        yield* process.until("the first document", isLive("1"))
        const second = Origin.withEtag(documentOf("2", 3), "\"2\"")
        let answers = 0
        server.answer((request, response) =>
          ++answers === 1 ? Origin.status(500)(request, response) : second(request, response)
        )
        yield* process.until("the second document", isLive("2"))
        assert.isAbove(answers, 1)
      }),
    20_000
  )

  it.live("one bad document does not end the reloads, nor do many", () =>
    Effect.gen(function*() {
      const server = yield* Origin.make
      server.answer(Origin.json(documentOf("1", 2)))
      const process = yield* start(sourceAt(server.url))
      yield* process.until("the first document", isLive("1"))
      let bad = 0
      server.answer((request, response) =>
        Origin.json({ ...documentOf(`bad ${++bad}`, 2), policies: bad })(request, response)
      )
      yield* eventually("bad documents", () => bad > 20)
      assert.isAtLeast(yield* process.rejected, 15)
      server.answer(Origin.json(documentOf("2", 3)))
      const status = yield* process.until("the second document", isLive("2"))
      assert.isTrue(Option.isNone(status.rejected))
    }), 20_000)

  it.live(
    "a flag provider that is never ready does not put the defaults in force: the last good document is",
    () =>
      Effect.gen(function*() {
        const notReady = async <A>(_: string, value: A) => ({ value, errorCode: ErrorCode.PROVIDER_NOT_READY })
        const provider: Provider = {
          metadata: { name: "never ready" },
          runsOn: "server",
          resolveBooleanEvaluation: notReady,
          resolveStringEvaluation: notReady,
          resolveNumberEvaluation: notReady,
          resolveObjectEvaluation: notReady
        }
        yield* Effect.promise(() => OpenFeature.setProviderAndWait("peers", provider))
        const path = join(yield* Files.directory, "last-good.json")
        const store = LastKnownGoodStore.layerFile({ path }).pipe(Layer.provide(NodeServices.layer))
        yield* Effect.flatMap(LastKnownGood.LastKnownGood, (it) => it.save(documentOf("1", 2))).pipe(
          Effect.provide(store)
        )
        const source = OpenFeatureSource.layer({ flag: "policies", client: OpenFeature.getClient("peers") })
        const process = yield* start(source, { store })
        yield* process.until("a failure", (it) => reasonOf(it) === "Unavailable")
        assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "lkg", revision: "1" })
      }),
    20_000
  )
})
