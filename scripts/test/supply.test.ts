import { assert, describe, it } from "@effect/vitest"
import { readAudit } from "../supply/audit.ts"
import type { Locked, Rules } from "../supply/lock.ts"
import { lockErrors } from "../supply/lock.ts"

const rules: Rules = {
  permissive: new Set(["MIT"]),
  exceptions: { data: "CC-BY-4.0" },
  gaps: new Set(["other-platform"]),
  allowScripts: { quiet: false, loud: true }
}

const good: Locked = { version: "1.0.0", license: "MIT", integrity: "sha512-abc" }

const errorsOf = (name: string, locked: Locked): ReadonlyArray<string> =>
  lockErrors({ "": {}, "node_modules/other-platform": { version: "1.0.0" }, [`node_modules/${name}`]: locked }, rules)

describe("supply", () => {
  it("finds nothing in what is permissive, whole and silent", () => {
    assert.deepStrictEqual(errorsOf("one", good), [])
    assert.deepStrictEqual(errorsOf("nested/node_modules/@scope/one", good), [])
  })

  it("finds licences that are not on the list, and lists of single packages", () => {
    assert.deepStrictEqual(errorsOf("one", { ...good, license: "GPL-3.0" }), ["one: licence GPL-3.0"])
    assert.deepStrictEqual(errorsOf("one", { ...good, license: "CC-BY-4.0" }), ["one: licence CC-BY-4.0"])
    assert.deepStrictEqual(errorsOf("data", { ...good, license: "CC-BY-4.0" }), [])
    const { license: _, ...none } = good
    assert.deepStrictEqual(errorsOf("one", none), ["one: no licence"])
  })

  it("finds what has no checksum, or a weak one", () => {
    const { integrity: _, ...none } = good
    assert.deepStrictEqual(errorsOf("one", none), ["one: no checksum"])
    assert.deepStrictEqual(errorsOf("one", { ...good, integrity: "sha1-abc" }), ["one: no checksum"])
  })

  it("finds a gap that is none any more", () => {
    assert.deepStrictEqual(errorsOf("other-platform", good), [
      "other-platform: has a checksum, and is listed as one without"
    ])
    assert.deepStrictEqual(lockErrors({}, rules), ["other-platform: listed as one without a checksum, and gone"])
  })

  it("finds scripts that would run", () => {
    const noisy = { ...good, hasInstallScript: true }
    assert.deepStrictEqual(errorsOf("quiet", noisy), [])
    assert.deepStrictEqual(errorsOf("loud", noisy), ["loud: would run a script when it is installed"])
    assert.deepStrictEqual(errorsOf("one", noisy), ["one: would run a script when it is installed"])
  })

  it("finds a package that is bound to one host", () => {
    const elsewhere = { ...good, resolved: "https://example.com/one.tgz" }
    assert.deepStrictEqual(errorsOf("one", elsewhere), [
      "one: comes from https://example.com/one.tgz, and not from wherever npm is told to look"
    ])
    assert.deepStrictEqual(errorsOf("one", { resolved: "packages/one", link: true }), [])
  })
})

describe("the answer of npm audit", () => {
  const log = "npm error A complete log of this run can be found in: /home/ada/.npm/_logs/debug-0.log\n"

  it("is what was found, whatever npm writes around it", () => {
    const found = JSON.stringify({ vulnerabilities: { left: { severity: "high" } } }, null, 2)
    assert.deepStrictEqual(readAudit(`npm warn old\n${found}\n${log}`).found, ["left: high"])
    assert.deepStrictEqual(readAudit(JSON.stringify({ vulnerabilities: {} })).found, [])
  })

  it("is none, with the reason, where the registry does not know the question", () => {
    const refused = JSON.stringify({ message: "405 Method Not Allowed - POST /advisories", headers: {} }, null, 2)
    assert.deepStrictEqual(readAudit(`${refused}\n${log}`), { found: undefined, status: "405 Method Not Allowed" })
    assert.deepStrictEqual(readAudit("npm error network"), { found: undefined, status: "no answer" })
  })
})
