import { assert, describe, it } from "@effect/vitest"
import { HttpClassifier } from "@rego/http"
import { Exit } from "effect"
import { HttpClientRequest, HttpClientResponse } from "effect/http"
import { STATUS_CODES } from "node:http"
import { known } from "../../core/src/MetricReasons.ts"
import { reasonsIn } from "../../core/test/reasonsIn.ts"

const request = HttpClientRequest.get("http://users.test/users/1")

const reasonOf = (status: number, headers: Record<string, string> = {}): string | undefined => {
  const outcome = HttpClassifier.http(
    Exit.succeed(HttpClientResponse.fromWeb(request, new Response(null, { status, headers })))
  )
  return outcome === undefined || outcome._tag === "Success" ? undefined : outcome.reason
}

describe("the reasons of HTTP", () => {
  it("are all labels of metrics, those of registered statuses too", () => {
    const said = reasonsIn(new URL("../src", import.meta.url))
    assert.includeMembers([...said], ["connection_refused", "reset", "decode"])
    const statuses = Object.keys(STATUS_CODES).map(Number).filter((status) =>
      status >= 400 && status !== 418 && status !== 509
    )
    const ofStatuses = statuses.map((status) => reasonOf(status)!)
    const finals = HttpClassifier.retryableStatuses.map((status) => reasonOf(status, { "x-should-retry": "false" })!)
    assert.include(finals, "http_503_final")
    assert.deepStrictEqual([...said, ...ofStatuses, ...finals].filter((reason) => !known.has(reason)), [])
  })

  it("of any other status are none", () => {
    assert.isFalse(known.has(reasonOf(499)!))
  })
})
