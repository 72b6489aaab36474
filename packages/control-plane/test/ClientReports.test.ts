import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, References } from "effect"
import { ClientReports } from "../src/ClientReports.ts"

/** The lines that a series of headers leaves in the log, each with its level. */
const logged = (said: ReadonlyArray<readonly [client: string, header: string | undefined]>) => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
    lines.push(`${logLevel} ${JSON.stringify(message)}`)
  })
  const reports = new ClientReports()
  return Effect.forEach(said, ([client, header]) => reports.hear(client, header)).pipe(
    Effect.provideService(Logger.CurrentLoggers, new Set([logger])),
    Effect.provideService(References.MinimumLogLevel, "All"),
    Effect.as(lines)
  )
}

describe("ClientReports", () => {
  it.effect("warns of a rejection, with its revision and the number of issues", () =>
    Effect.gen(function*() {
      const [line] = yield* logged([["10.0.0.1", `rejected; revision="7%2Fa"; issues=3`]])
      assert.match(
        line ?? "",
        /^Warn .*a client rejected the policies.*"client":"10.0.0.1","revision":"7\/a","issues":3/
      )
    }))

  it.effect("hears of the longest revision that a client sends, in letters of any script", () =>
    Effect.gen(function*() {
      const [line] = yield* logged([["a", `rejected; revision="${encodeURIComponent("版".repeat(200))}"; issues=1`]])
      assert.match(line ?? "", /"revision":"版{200}"/)
    }))

  it.effect("says what a client repeats once, until it says something else", () =>
    Effect.gen(function*() {
      const [no, yes] = [`rejected; revision="7"; issues=1`, `accepted; revision="8"`]
      const lines = yield* logged([["a", no], ["a", no], ["b", no], ["a", yes], ["a", yes], ["a", no]])
      assert.deepStrictEqual(lines.map((line) => line.split(" ")[0]), ["Warn", "Warn", "Debug", "Warn"])
    }))

  it.effect("ignores what has another shape: a header is foreign text", () =>
    Effect.gen(function*() {
      const foreign = [
        "",
        "rejected\n[INFO] all is well",
        "rejected; revision=\"a b\"",
        `accepted; token="x"`,
        "x".repeat(10_000)
      ]
      assert.deepStrictEqual(yield* logged([["a", undefined], ...foreign.map((header) => ["a", header] as const)]), [])
      const [line] = yield* logged([["a", `rejected; revision="%"; issues=1`]])
      assert.match(line ?? "", /"revision":"%"/)
    }))

  it.effect("remembers so many clients and no more", () =>
    Effect.gen(function*() {
      const report = `rejected; revision="7"; issues=1`
      const clients = Array.from({ length: 1_001 }, (_, i) => [`client ${i}`, report] as const)
      const lines = yield* logged([...clients, ["client 1000", report], ["client 0", report]])
      assert.strictEqual(lines.length, 1_002)
    }))
})
