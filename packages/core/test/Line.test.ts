import { assert, describe } from "@effect/vitest"
import type { Place } from "../src/Line.ts"
import { Line } from "../src/Line.ts"
import { integer, property } from "./arbitraries.ts"

class Guest implements Place<Guest> {
  ahead: Guest | undefined = undefined
  behind: Guest | undefined = undefined
}

const inLine = (line: Line<Guest>): ReadonlyArray<Guest> => {
  const guests: Array<Guest> = []
  for (let guest = line.first; guest !== undefined; guest = guest.behind) guests.push(guest)
  return guests
}

describe("Line", () => {
  property(
    "keeps the order in which guests came, whoever leaves, and takes back who has left",
    { steps: integer(1, 60), salt: integer(0, 1_000_000) },
    ({ salt, steps }) => {
      const line = new Line<Guest>()
      const expected: Array<Guest> = []
      const left: Array<Guest> = []
      for (let step = 0; step < steps; step++) {
        const choice = (salt * 31 + step * step * 17) % 7
        if (choice < 4 || expected.length === 0) {
          const guest = choice === 0 ? left.pop() ?? new Guest() : new Guest()
          line.join(guest)
          expected.push(guest)
        } else {
          const [guest] = expected.splice((salt + step) % expected.length, 1) as [Guest]
          line.leave(guest)
          left.push(guest)
          assert.deepStrictEqual([guest.ahead, guest.behind], [undefined, undefined])
        }
        const found = inLine(line)
        assert.isTrue(found.length === expected.length && found.every((guest, i) => guest === expected[i]))
        assert.isTrue(found.every((guest, i) => guest.ahead === found[i - 1]))
      }
    }
  )
})
