import { assert, describe, it } from "@effect/vitest"
import { PolicyKey } from "@rego/core"
import { HttpKey } from "@rego/http"
import { HttpClientRequest } from "effect/http"

const get = HttpClientRequest.get

const uuid = "3f0c1f6e-2d3b-4c5a-9e8f-0123456789ab"

describe("HttpKey", () => {
  describe("hostAndMethod", () => {
    const rows: ReadonlyArray<readonly [url: string, key: string]> = [
      ["https://api.example.com/users/1", "api.example.com.GET"],
      ["https://API.Example.com", "api.example.com.GET"],
      ["https://api.example.com./users", "api.example.com.GET"],
      ["https://user:secret@api.example.com/", "api.example.com.GET"],
      ["https://api.example.com:443/", "api.example.com.GET"],
      ["http://api.example.com:80/", "api.example.com.GET"],
      ["http://api.example.com:443/", "api.example.com:443.GET"],
      ["http://127.0.0.1:8080/users", "127.0.0.1:8080.GET"],
      ["http://127.0.0.1:54321/users", "127.0.0.1:54321.GET"],
      ["http://[::1]:8080/", "::1:8080.GET"],
      ["http://user_service/", "user_service.GET"],
      ["http://münchen.example/", "m_nchen.example.GET"],
      [`https://${uuid}.example.com/`, "_.example.com.GET"],
      ["https://1234567.tenants.example.com/", "_.tenants.example.com.GET"],
      ["/users/1", "http.GET"],
      ["", "http.GET"]
    ]
    for (const [url, key] of rows) {
      it(`${JSON.stringify(url)} is ${key}`, () => {
        assert.strictEqual(HttpKey.hostAndMethod(get(url)), key)
        assert.isTrue(PolicyKey.isValid(key))
      })
    }

    it("takes nothing from the path, the query or the fragment", () => {
      const request = get(`https://api.test/users/${uuid}?id=${uuid}#${uuid}`, { urlParams: { user: uuid } })
      assert.strictEqual(HttpKey.hostAndMethod(request), "api.test.GET")
    })
  })

  describe("service", () => {
    it("is the name and the method, whatever the host", () => {
      const key = HttpKey.service("user-service")
      assert.strictEqual(key(get("https://a.test/")), "user-service.GET")
      assert.strictEqual(key(HttpClientRequest.post("/b")), "user-service.POST")
    })

    it("refuses a name that looks like an id", () => {
      assert.throws(() => HttpKey.service(uuid), RangeError, "looks like an id")
    })
  })

  describe("routes", () => {
    const key = HttpKey.routes({
      "GET /v1/users/:id": "users.Get",
      "GET /v1/users/me": "users.Me",
      "POST /v1/users": "users.Create",
      "GET /v1/files/*": "files.Read"
    }, HttpKey.service("other"))

    const rows: ReadonlyArray<readonly [HttpClientRequest.HttpClientRequest, string]> = [
      [get("https://api.test/v1/users/48121"), "users.Get"],
      [get(`https://api.test/v1/users/${uuid}`), "users.Get"],
      [get("https://api.test/v1/users/48121/"), "users.Get"],
      [get("https://api.test/v1/users/me"), "users.Me"],
      [get("/v1/users/48121"), "users.Get"],
      [get("https://api.test/").pipe(HttpClientRequest.appendUrl("v1/users/2")), "users.Get"],
      [get("https://api.test/v1/users/a%20b"), "users.Get"],
      [get("https://api.test/v1/users/48121?x=/v1/files/1"), "users.Get"],
      [HttpClientRequest.post("https://api.test/v1/users"), "users.Create"],
      [get("https://api.test/v1/files/a/b/c"), "files.Read"],
      [get("https://api.test/v1/users"), "other.GET"],
      [get("https://api.test/v1/users/48121/posts"), "other.GET"],
      [get("https://api.test/v1/users/%E0%A4%A"), "other.GET"],
      [get("https://api.test"), "other.GET"]
    ]
    for (const [request, expected] of rows) {
      it(`${request.method} ${request.url} is ${expected}`, () => {
        assert.strictEqual(key(request), expected)
      })
    }

    it("falls back to host and method", () => {
      assert.strictEqual(HttpKey.routes({})(get("https://api.test/")), "api.test.GET")
    })

    it("refuses routes and keys that cannot be used, all of them at once", () => {
      assert.throws(
        () =>
          HttpKey.routes({ ["get /users" as "GET /"]: "users.Get", "GET /b": `users.${uuid}`, "GET /c": "users.Get" }),
        RangeError,
        new RegExp(`^HttpKey.routes: "get /users" must be a method .*; "GET /b": PolicyKey "users.${uuid}": .*id$`)
      )
    })
  })
})
