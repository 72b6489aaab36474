import { assert, describe, it } from "@effect/vitest"
import { PolicyKey } from "@rego/core"
import { map, oneOf, pick, property, text } from "./arbitraries.ts"

const refusal = (input: string): string => {
  try {
    return `accepted as ${PolicyKey.make(input)}`
  } catch (error) {
    assert.instanceOf(error, RangeError)
    return (error as RangeError).message
  }
}

const uuid = "123e4567-e89b-12d3-a456-426614174000"

describe("PolicyKey", () => {
  describe("make", () => {
    it("trims the whole and both halves around the first dot [P01]", () => {
      assert.strictEqual(PolicyKey.make("method"), "method")
      assert.strictEqual(PolicyKey.make("svc.method"), "svc.method")
      assert.strictEqual(PolicyKey.make(" svc.method "), "svc.method")
      assert.strictEqual(PolicyKey.make("service . method"), "service.method")
      assert.strictEqual(PolicyKey.make("svc.method.extra"), "svc.method.extra")
    })

    it("takes a dot with nothing behind it for a part of the name [P01]", () => {
      assert.strictEqual(PolicyKey.make("svc."), "svc.")
      assert.strictEqual(PolicyKey.make("."), ".")
      assert.strictEqual(PolicyKey.namespace("svc."), "")
    })

    it("drops a dot with nothing before it: the key is a name only [P01]", () => {
      assert.strictEqual(PolicyKey.make(".method"), "method")
      assert.strictEqual(PolicyKey.make(". . method"), "method")
    })

    it("reads a text of any length: a call never fails because of its key", () => {
      assert.strictEqual(PolicyKey.print(`${" .".repeat(50_000)}svc. method`), "svc.method")
    })

    it("refuses an empty key [P01]", () => {
      assert.strictEqual(refusal(""), "PolicyKey \"\": must have 1 to 128 characters, got 0")
      assert.strictEqual(refusal("  "), "PolicyKey \"  \": must have 1 to 128 characters, got 0")
    })

    it("accepts 128 characters and refuses 129", () => {
      assert.strictEqual(PolicyKey.make("x".repeat(128)).length, 128)
      assert.include(refusal("x".repeat(129)), "must have 1 to 128 characters, got 129")
    })

    it("refuses characters that are no part of a key", () => {
      for (const input of ["a b.c d", "users.Get?", "users.Größe", "a,b", "users.*", "*", "a\nb", "${id}"]) {
        assert.include(refusal(input), "must consist of A-Z a-z 0-9 _ . / : -", input)
      }
    })

    it("refuses a whole segment that looks like an id", () => {
      const ids = [uuid, uuid.toUpperCase(), "123456", "1048576", "0123456789abcdef", "DEADBEEFDEADBEE1"]
      for (const id of ids) {
        for (const input of [id, `users.${id}`, `users/${id}/orders`, `users:${id}`, `${id}.Get`]) {
          assert.include(refusal(input), `the segment "${id}" looks like an id`, input)
        }
      }
    })

    it("`problems` lists what `make` would throw, without throwing", () => {
      assert.deepStrictEqual(PolicyKey.problems(" users . Get "), [])
      const found = PolicyKey.problems("a b.123456")
      assert.deepStrictEqual(found, [
        "must consist of A-Z a-z 0-9 _ . / : -",
        "must be the same for every call, but the segment \"123456\" looks like an id"
      ])
      assert.strictEqual(refusal("a b.123456"), `PolicyKey "a b.123456": ${found.join("; ")}`)
    })

    it("accepts what is a version, a date inside a segment, a short number or a word of hexadecimal letters", () => {
      const keys = [
        "api.v2.GetUser",
        "dynamo.DynamoDB_20120810.GetItem",
        "users.12345",
        "a.deadbeefdeadbeefdead",
        "a.x123456",
        "http://host:8080/path",
        // an id is a whole segment
        `a.x${uuid}`,
        `a.${uuid}x`,
        "a.123456x",
        "a.x0123456789abcdef",
        "a.0123456789abcdefx",
        "a"
      ]
      for (const key of keys) assert.strictEqual(PolicyKey.make(key), key)
    })

    it("names every rule that is broken at once", () => {
      assert.strictEqual(
        refusal(`a b.${"x".repeat(130)}.123456`),
        `PolicyKey "a b.${
          "x".repeat(130)
        }.123456": must have 1 to 128 characters, got 141; must consist of A-Z a-z 0-9 _ . / : -; ` +
          "must be the same for every call, but the segment \"123456\" looks like an id"
      )
    })
  })

  describe("make, of what it made", () => {
    property("is the same key", { input: text }, ({ input }) => {
      if (!PolicyKey.isValid(input)) return
      const key = PolicyKey.make(input)
      assert.strictEqual(PolicyKey.make(key), key)
    }, 1_000)
  })

  describe("isValid", () => {
    property("agrees with make", { input: text }, ({ input }) => {
      assert.strictEqual(PolicyKey.isValid(input), !refusal(input).startsWith("PolicyKey "))
    }, 1_000)
  })

  describe("namespace", () => {
    it("is what stands before the first dot", () => {
      assert.strictEqual(PolicyKey.namespace("svc.method.extra"), "svc")
      assert.strictEqual(PolicyKey.namespace("method"), "")
      assert.strictEqual(PolicyKey.namespace(""), "")
    })
  })

  describe("overflowOf", () => {
    it("keeps a namespace that is in order, so that its wildcard policy still applies", () => {
      assert.strictEqual(PolicyKey.overflowOf(`user-service.GetUser.${uuid}`), "user-service._overflow")
      assert.strictEqual(PolicyKey.overflowOf(" user-service . 1048576 "), "user-service._overflow")
    })

    it("drops a namespace that is an id itself or no text of a key", () => {
      for (const input of [`${uuid}.Get`, "1048576.Get", "a b.Get", "no namespace", "", ".x y"]) {
        assert.strictEqual(PolicyKey.overflowOf(input), PolicyKey.overflow)
      }
    })

    const foreign = oneOf(
      text,
      map(pick([1, 118, 119, 127, 128, 129, 500]), (length) => `${"n".repeat(length)}.a b`)
    )
    property("is always a valid key, and its own overflow key is itself", { input: foreign }, ({ input }) => {
      const key = PolicyKey.overflowOf(input)
      assert.isTrue(PolicyKey.isValid(key), key)
      assert.strictEqual(PolicyKey.overflowOf(key), key)
    }, 1_000)
  })
})
