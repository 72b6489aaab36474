import { assert, describe, it } from "@effect/vitest"
import { Scenarios } from "@rego/testing"
import { Effect } from "effect"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { printed, run, runHere, start, withFiles } from "./regoBinary.ts"

const policies = (revision: string, users: object = {}, more: object = {}) => ({
  schemaVersion: "1.0",
  revision,
  policies: {
    "users.*": { retry: { maxAttempts: 3 }, timeout: { overall: "1 second" }, idempotent: true, ...users }
  },
  ...more
})

const token = "write-token-0123456789"

/** Processes take a second of a busy machine to start. */
const slow = 60_000

const lines = (text: string): ReadonlyArray<string> => text.trimEnd().split("\n")

const put = (url: string, json: unknown, headers: Readonly<Record<string, string>> = { "if-match": "*" }) =>
  Effect.promise(async () => {
    const response = await fetch(url, {
      method: "PUT",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}`, ...headers },
      body: JSON.stringify(json)
    })
    return { status: response.status, text: await response.text() }
  })

const get = (url: string) =>
  Effect.promise(async () => {
    const response = await fetch(url)
    return { status: response.status, json: await response.json() as { readonly revision?: string } }
  })

/** The address that a server prints first. */
const serving = Effect.fnUntraced(function*(args: ReadonlyArray<string>, environment = { REGO_WRITE_TOKEN: token }) {
  const running = yield* start(["serve", ...args, "--port", "0"], environment)
  const [, url] = yield* printed(running, /(http:\/\/\S+\/v1\/policies)/)
  return { running, url: url! }
})

describe("rego", () => {
  it.live("says what it can do, and which version it is", () =>
    Effect.gen(function*() {
      const [help, version] = yield* Effect.all([run(["--help"]), runHere(["--version"])])
      for (const command of ["check", "diff", "explain", "schema", "serve", "simulate", "watch"]) {
        assert.match(help.stdout, new RegExp(`^  ${command}  `, "m"))
      }
      assert.deepStrictEqual([help.code, version.code], [0, 0])
      assert.match(version.stdout, /0\.1\.0/)
      const simulate = yield* runHere(["simulate", "--help"])
      for (const scenario of Object.keys(Scenarios.shipped)) assert.include(simulate.stdout, scenario)
    }), slow)

  it.live(
    "ends with 2 where flags or arguments are wrong, so that 1 is a verdict in every command",
    () =>
      Effect.gen(function*() {
        const wrong = [[], ["nowhere"], ["check"], ["serve", ".", "--port", "99999"]]
        const ended = yield* Effect.forEach(wrong, runHere)
        assert.deepStrictEqual(ended.map(({ code }) => code), [0, 2, 2, 2])
        assert.strictEqual((yield* run(["check"])).code, 2)
        assert.match(ended[3]!.stderr, /port.*must be an integer between 0 and 65535, got 99999/)
      }),
    slow
  )

  describe("check", () => {
    it.live("prints issues, clamps and warnings; the exit code is the verdict", () =>
      Effect.gen(function*() {
        const directory = yield* withFiles({
          "good.json": policies("1", { classifier: "http" }),
          "clamped.json": policies("2", { retry: { maxAttempts: 40 }, classifier: "http" }),
          "bad.json": policies("3", { retry: { maxAtempts: 4 }, timeout: { overall: 0 } }),
          "cut.json": `{ "revision": "`
        })
        const file = (name: string) => join(directory, name)
        const [fine, strict, bad, cut] = yield* Effect.all([
          run(["check", file("good.json"), file("clamped.json")]),
          runHere(["check", "--strict", file("clamped.json")]),
          run(["check", file("good.json"), file("bad.json")]),
          runHere(["check", file("cut.json")])
        ], { concurrency: 2 })
        assert.deepStrictEqual([fine.code, lines(fine.stdout)], [0, [
          `${file("good.json")}: accepted, revision 1, 1 entry`,
          `${file("clamped.json")}: accepted, revision 2, 1 entry`,
          "  clamped",
          `    policies["users.*"].retry.maxAttempts  40 would be 10`
        ]])
        assert.strictEqual(strict.code, 1)
        assert.deepStrictEqual([bad.code, lines(bad.stdout).slice(1)], [1, [
          `${file("bad.json")}: refused, 2 issues`,
          `    policies["users.*"].retry.maxAtempts: is not a field that is known here, got 4`,
          `    policies["users.*"].timeout.overall: must be between 1ms and 1d, got 0`
        ]])
        assert.strictEqual(cut.code, 2)
        assert.match(cut.stderr, /cut\.json: is not JSON/)
      }).pipe(Effect.scoped), slow)
  })

  describe("diff", () => {
    it.live("prints which keys get what, and fails where a live layer would refuse", () =>
      Effect.gen(function*() {
        const directory = yield* withFiles({
          "a.json": policies("1"),
          "b.json": policies("2", { retry: { maxAttempts: 4 } }, { off: ["orders.*"] }),
          "c.json": policies("3", { timeout: { overall: "10 millis" } })
        })
        const [a, b, c] = ["a.json", "b.json", "c.json"].map((name) => join(directory, name)) as [
          string,
          string,
          string
        ]
        const [change, refused] = yield* Effect.all([runHere(["diff", a, b]), run(["diff", a, c])], { concurrency: 2 })
        assert.deepStrictEqual([change.code, lines(change.stdout)], [0, [
          "1 → 2",
          "  users.*",
          "    retry.maxAttempts  3 → 4",
          "  shared",
          `    off["orders.*"]  (none) → off`
        ]])
        assert.strictEqual(refused.code, 1)
        assert.match(
          refused.stdout,
          /refused by the guard of a live layer\n {4}policies\["users\.\*"\]\.timeout\.overall/
        )
      }).pipe(Effect.scoped), slow)
  })

  describe("simulate", () => {
    it.live(
      "compares two documents, writes charts, and says no when a limit is broken or nothing can be read",
      () =>
        Effect.gen(function*() {
          const directory = yield* withFiles({
            "before.json": policies("1"),
            "after.json": policies("2", { retry: { maxAttempts: 2 } }),
            "bad.json": policies("3", { retry: { maxAttempts: 0.5 } }),
            "scenario.json": {
              name: "small",
              clients: { type: "open", rate: 100 },
              server: { service: { type: "constant", value: "10 millis" }, failureRate: 0.05 },
              requests: 300
            },
            "dead.json": {
              name: "dead",
              clients: { type: "open", rate: 100 },
              server: { service: { type: "constant", value: "10 millis" }, failureRate: 1 },
              requests: 10
            },
            "wrong.json": { name: "", clients: { type: "open", rate: 0 }, server: { service: { type: "constant" } } }
          })
          const file = (name: string) => join(directory, name)
          const small = ["users.Get", "--scenario", file("scenario.json"), "--seeds", "2"]
          const [fine, broken, bad, wrong, unknown] = yield* Effect.all([
            run(["simulate", file("after.json"), ...small, "--against", file("before.json"), "--charts", directory]),
            runHere(["simulate", file("after.json"), ...small, "--json", "--limit", "p99<=1ms"]),
            runHere(["simulate", file("bad.json"), ...small]),
            runHere(["simulate", file("after.json"), "users.Get", "--scenario", file("wrong.json")]),
            runHere(["simulate", file("after.json"), "users.Get", "--scenario", "nowhere", "--limit", "p98<2"])
          ], { concurrency: 2 })
          assert.deepStrictEqual([fine.code, broken.code, bad.code, wrong.code, unknown.code], [0, 1, 2, 2, 2])
          assert.match(fine.stdout, /^small: .*\nusers\.Get, 2 seeds, 600 requests\n/)
          assert.match(fine.stdout, /before\.json +\S*after\.json/)
          assert.isTrue(existsSync(file("latency.svg")) && existsSync(file("load.svg")))
          assert.deepInclude(JSON.parse(broken.stdout).limits[0], { limit: "p99<=1ms", bound: 1, holds: false })
          assert.match(bad.stderr, /maxAttempts: must be an integer/)
          assert.match(wrong.stderr, /clients\.rate: must be a number between 0\.001 and 1000000, got 0/)
          assert.match(wrong.stderr, /server\.service\.value: is required/)
          assert.match(unknown.stderr, /--limit "p98<2" must be like/)
          const dead = ["users.Get", "--scenario", file("dead.json"), "--seeds", "2", "--limit", "p99<=60ms"]
          const { code, stdout } = yield* runHere(["simulate", file("after.json"), ...dead])
          assert.deepStrictEqual([code, lines(stdout).at(-1)], [1, "  p99<=60ms  –, none in 2 seeds: BROKEN"])
        }).pipe(Effect.scoped),
      slow
    )
  })

  describe("explain", () => {
    it.live(
      "prints where each value comes from, the worst case, the budget and warnings",
      () =>
        Effect.gen(function*() {
          const directory = yield* withFiles({ "a.json": policies("1", { timeout: { perAttempt: "100 millis" } }) })
          const args = ["explain", join(directory, "a.json"), "users.Get"]
          const [text, json] = yield* Effect.all([run(args), runHere([...args, "--json"])])
          assert.strictEqual(text.code, 0)
          assert.match(text.stdout, /^users\.Get {2}\(revision 1\)\n {2}policies\["users\.\*"\]\n/)
          assert.match(text.stdout, /retry\.maxAttempts {2,}policies\["users\.\*"\] {2,}3\n/)
          assert.match(text.stdout, /time {6}330ms at most\n/)
          assert.match(text.stdout, /default_classifier/)
          const { worst } = JSON.parse(json.stdout)
          assert.deepInclude(worst, { attempts: 3, waits: [10, 20], duration: 330 })
        }).pipe(Effect.scoped),
      slow
    )
  })

  describe("serve and watch", () => {
    it.live("publish what was checked, and print it with what it changes", () =>
      Effect.gen(function*() {
        const directory = yield* withFiles({ "policies.json": policies("1") })
        const { running, url } = yield* serving([join(directory, "policies.json")])
        assert.match(url, /^http:\/\/127\.0\.0\.1:/)
        const watching = yield* start(["watch", url])
        yield* printed(watching, /accepted 1\n/)
        assert.strictEqual((yield* put(url, policies("2", { retry: { maxAttempts: 4 } }))).status, 200)
        yield* printed(watching, /accepted 2\n {2}users\.\*\n {4}retry\.maxAttempts {2}3 → 4\n/)
        yield* printed(running, /policies published/)

        // a restart: what was published outlives the file that the history began with
        running.child.kill("SIGTERM")
        assert.strictEqual(yield* running.ended, 130)
        yield* printed(watching, /failed: policy source/)
        const again = yield* serving([join(directory, "policies.json")])
        assert.strictEqual((yield* get(again.url)).json.revision, "2")
        assert.notInclude(`${running.stdout}${running.stderr}${watching.stdout}${again.running.stdout}`, token)
      }).pipe(Effect.scoped), slow)

    it.live(
      "refuse a document that is not good, and a second server on the same history",
      () =>
        Effect.gen(function*() {
          const directory = yield* withFiles({
            "bad.json": policies("1", { retry: { maxAtempts: 3 } }),
            "odd.json": { ...policies("1"), revision: { toString: 1 } }
          })
          const bad = yield* runHere(["serve", join(directory, "bad.json"), "--port", "0"])
          const odd = yield* runHere(["serve", join(directory, "odd.json"), "--port", "0"])
          assert.deepStrictEqual([bad.code, odd.code], [1, 1])
          assert.match(odd.stderr, /revision: /)
          assert.notMatch(odd.stderr, /TypeError/)
          assert.match(
            bad.stderr,
            /policies\["users\.\*"\]\.retry\.maxAtempts: is not a field that is known here, got 3/
          )
          yield* serving([directory])
          const second = yield* run(["serve", directory, "--port", "0"])
          assert.strictEqual(second.code, 2)
          assert.match(second.stderr, /rego\.sqlite: database is locked/)
        }).pipe(Effect.scoped),
      slow
    )

    it.live(
      "take tokens from the environment alone, and refuse one that can be guessed, without showing it",
      () =>
        Effect.gen(function*() {
          const directory = yield* withFiles({})
          const guessable = yield* run(["serve", directory], { REGO_WRITE_TOKEN: "hunter2" })
          assert.strictEqual(guessable.code, 2)
          assert.match(guessable.stderr, /REGO_WRITE_TOKEN: must have at least 16 characters/)
          assert.notInclude(`${guessable.stdout}${guessable.stderr}`, "hunter2")
          assert.isFalse(existsSync(join(directory, "rego.sqlite")))
          const { running, url } = yield* serving([directory], {} as never)
          yield* printed(running, /read-only: REGO_WRITE_TOKEN is not set/)
          assert.strictEqual((yield* put(url, policies("1"), { "if-none-match": "*" })).status, 403)
        }).pipe(Effect.scoped),
      slow
    )
  })
})
