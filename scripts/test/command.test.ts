import { assert, describe, it } from "@effect/vitest"
import { run } from "../lib/command.ts"

describe("run", () => {
  it("captures a character that comes in two pieces", async () => {
    const halves = `process.stdout.write(Buffer.from([0xe2, 0x94]))
      setTimeout(() => process.stdout.write(Buffer.from([0x82])), 100)`
    assert.deepStrictEqual(await run("node", ["-e", halves]), { ok: true, output: "│", timedOut: false })
  })

  it("says of a command that is not there that it failed, and why", async () => {
    const { ok, output } = await run("no-such-command", [])
    assert.isFalse(ok)
    assert.include(output, "ENOENT")
  })

  it("gives up a command in time", async () => {
    const result = await run("bash", ["-c", "echo begun; sleep 30"], { timeoutMillis: 300 })
    assert.deepStrictEqual(result, { ok: false, output: "begun\n", timedOut: true })
  })

  it("gives up in time also when what it started has left its group, and keeps its output open", async () => {
    const started = performance.now()
    const { timedOut } = await run("bash", ["-c", "setsid sleep 10 & disown"], { timeoutMillis: 500 })
    assert.isTrue(timedOut)
    assert.isBelow(performance.now() - started, 8_000)
  })
})
