import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import type { Case } from "../src/cases.ts"
import { hostOf } from "../src/cases.ts"
import * as Loopback from "../src/loopback.ts"
import { allocated, inFlight } from "../src/memory.ts"
import { median } from "../src/results.ts"
import type { Subject } from "../src/subjects.ts"

const host = await hostOf(Loopback.none)

/** Eight bytes for each element. */
const elements = 1_000
const bytes = 8 * elements

const isAbout = (found: number): void => {
  assert.isAtLeast(found, bytes)
  assert.isBelow(found, bytes * 1.1)
}

describe("memory", () => {
  beforeAll(() => {
    setFlagsFromString("--expose-gc")
    globalThis.gc = runInNewContext("gc")
  })
  afterAll(() => {
    Reflect.deleteProperty(globalThis, "gc")
  })

  it("finds what a call allocates", async () => {
    const arrays: Array<ReadonlyArray<number>> = []
    const call: Case = {
      id: "array",
      run: async (_, calls) => {
        arrays.length = 0
        for (let i = 0; i < calls; i++) arrays.push(new Array(elements).fill(0))
      }
    }
    isAbout(median(await allocated(call, host, { bytes: 400_000, times: 1 })))
  })

  it("finds what is kept for a call in flight, typed arrays included", async () => {
    const subject: Subject = {
      name: "array",
      promise: async (operation) => {
        const kept = new Float64Array(elements)
        return await operation() + kept[0]!
      }
    }
    isAbout(median(await inFlight(subject, host, 200)))
  })

  it("keeps nothing for a call that has ended", async () => {
    const subject: Subject = {
      name: "done",
      promise: async () => new Float64Array(elements)[0]!
    }
    assert.isBelow(median(await inFlight(subject, host, 200)), bytes / 10)
  })
})
