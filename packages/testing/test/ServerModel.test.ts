/** Servers against queueing theory, where there is a formula, and against a hand-made schedule, where there is none. */
import { assert, describe, it } from "@effect/vitest"
import { PolicyLayer } from "@rego/core"
import { Effect } from "effect"
import { Scenario, Simulator } from "../src/index.ts"
import { hash, Stream } from "../src/Randomness.ts"
import { makeCaller, Servers } from "../src/ServerModel.ts"
import { VirtualTime } from "../src/VirtualTime.ts"

const policies = PolicyLayer.make({ policies: { "*": { retry: "off" } } })

const timeline = (server: Scenario.ServerInput, episodes: ReadonlyArray<Scenario.EpisodeInput> = []) => {
  const time = new VirtualTime(0)
  const clients = { type: "open", rate: 1 } as const
  const scenario = Scenario.make({ name: "by hand", clients, server, episodes, duration: "1 hour" })
  return { time, servers: new Servers(time, scenario) }
}

const finish = (time: VirtualTime): void => {
  let more = true
  while (more) more = time.step()
}

/** What jobs take on average, of so many that come independently of each other. */
const meanTime = (rate: number, server: Scenario.ServerInput, jobs = 120_000): number => {
  const { servers, time } = timeline(server)
  const arrivals = new Stream(20_260_401, 1)
  let sent = 0
  let sum = 0
  const arrive = (): void => {
    const from = time.now
    servers.send(makeCaller(hash(7, sent)), () => {
      sum += time.now - from
    })
    if (++sent < jobs) time.after(arrivals.nextGap(rate / 1_000), arrive)
  }
  arrive()
  finish(time)
  return sum / jobs
}

/** A. K. Erlang, 1917: the share of arrivals that find all of `c` places taken, at an offered load of `a`. */
const erlangC = (c: number, a: number): number => {
  let term = 1
  let sum = 1
  for (let k = 1; k < c; k++) sum += term *= a / k
  const last = term * a / c * c / (c - a)
  return last / (sum + last)
}

const exponential = { type: "exponential", mean: 10 } as const

describe("a queue, as theory has it", () => {
  for (const load of [0.3, 0.6, 0.8]) {
    it(`M/M/1 at ${load}: a request takes 1 / (mu - lambda) on average`, () => {
      const expected = 1_000 / (100 - 100 * load)
      assert.closeTo(meanTime(100 * load, { concurrency: 1, service: exponential }), expected, 0.06 * expected)
    })
  }

  for (const [c, load] of [[2, 0.7], [5, 0.8], [30, 0.9]] as const) {
    it(`M/M/${c} at ${load}: the wait is that of Erlang's formula`, () => {
      const rate = 100 * c * load
      const wait = erlangC(c, c * load) / (100 * c - rate) * 1_000
      assert.closeTo(meanTime(rate, { concurrency: c, service: exponential }) - 10, wait, 0.1 * wait)
    })
  }

  it("M/D/1 waits half as long as M/M/1 (Pollaczek and Khinchine)", () => {
    const service = { type: "constant", value: 10 } as const
    assert.closeTo(meanTime(80, { concurrency: 1, service }) - 10, 20, 1)
  })

  it.effect("Little's law: requests in the system are rate × time, in a closed loop", () =>
    Effect.gen(function*() {
      const scenario = Scenario.make({
        name: "closed",
        clients: { type: "closed", concurrency: 12, thinkTime: { type: "exponential", mean: 20 } },
        server: { concurrency: 3, service: exponential },
        requests: 20_000,
        warmUp: 1_000
      })
      const { metrics } = yield* Simulator.simulate(scenario, { policies, seeds: 2 })
      const inSystem = metrics.goodput.median * (metrics.mean.median + 20) / 1_000
      assert.closeTo(inSystem, 12, 0.15)
    }))
})

const world = (server: Scenario.ServerInput, episodes: ReadonlyArray<Scenario.EpisodeInput> = []) => {
  const { servers, time } = timeline(server, episodes)
  const log: Array<string> = []
  const send = (name: string, at: number, cancelAt?: number): void => {
    time.after(at, () => {
      const job = servers.send(makeCaller(1), (failure) => log.push(`${name} ${failure ?? "ok"} at ${time.now}`))
      if (cancelAt !== undefined) time.after(cancelAt - at, () => job.cancel())
    })
  }
  const run = (): ReadonlyArray<string> => {
    finish(time)
    return log
  }
  return { run, send }
}

const constant = { type: "constant", value: 10 } as const

describe("a replica", () => {
  it("works on so many at a time, first in, first out", () => {
    const { run, send } = world({ concurrency: 2, service: constant })
    for (const name of ["a", "b", "c", "d"]) send(name, 0)
    assert.deepStrictEqual(run(), ["a ok at 10", "b ok at 10", "c ok at 20", "d ok at 20"])
  })

  it("sheds what finds the queue full after a moment, and what has waited too long when its turn comes", () => {
    const full = world({ concurrency: 1, queue: { limit: 1 }, service: constant })
    for (const name of ["a", "b", "c"]) full.send(name, 0)
    assert.deepStrictEqual(full.run(), ["c shed at 1", "a ok at 10", "b ok at 20"])
    const slow = world({ concurrency: 1, queue: { maxWait: 15 }, service: constant })
    for (const name of ["a", "b", "c"]) slow.send(name, 0)
    assert.deepStrictEqual(slow.run(), ["a ok at 10", "c shed at 20", "b ok at 20"])
  })

  it("stops working on what nobody waits for, when it is told", () => {
    const { run, send } = world({ concurrency: 1, service: constant })
    send("a", 0, 4)
    send("b", 1)
    send("c", 1, 2)
    send("d", 1)
    assert.deepStrictEqual(run(), ["b ok at 14", "d ok at 24"])
  })

  it("before-work: drops what waits, and finishes what it has begun", () => {
    const { run, send } = world({ concurrency: 1, cancellation: "before-work", service: constant })
    send("a", 0, 4)
    send("b", 1, 2)
    send("c", 1)
    assert.deepStrictEqual(run(), ["c ok at 20"])
  })

  it("works on it in vain, when it ignores that", () => {
    const { run, send } = world({ concurrency: 1, cancellation: "ignored", service: constant })
    send("a", 0, 4)
    send("b", 1, 2)
    send("c", 1)
    assert.deepStrictEqual(run(), ["c ok at 30"])
  })

  it("cancelling what was refused changes no queue", () => {
    const { run, send } = world({ concurrency: 1, queue: { limit: 1 }, service: constant })
    send("a", 0)
    send("b", 0)
    send("c", 0, 0.5)
    send("d", 0.7)
    assert.deepStrictEqual(run(), ["d shed at 1.7", "a ok at 10", "b ok at 20"])
  })

  it("stands still in a freeze, and goes on with what is left", () => {
    const { run, send } = world({ service: constant }, [{ type: "freeze", at: 5, for: 100 }])
    send("before", 0)
    send("meanwhile", 50)
    send("after", 110)
    assert.deepStrictEqual(run(), ["before ok at 110", "meanwhile ok at 115", "after ok at 120"])
  })

  it("takes as many times as long while it is slow, for the part of the work that falls into it", () => {
    const { run, send } = world({ service: constant }, [
      { type: "slow", factor: 2, at: 5, for: 100 },
      { type: "slow", factor: 5, at: 200, for: 100 },
      { type: "slow", factor: 2, at: 200, for: 5 }
    ])
    send("half of it", 0)
    send("all of it", 20)
    send("both at once", 200)
    assert.deepStrictEqual(run(), ["half of it ok at 15", "all of it ok at 40", "both at once ok at 252.5"])
  })

  it("fails with all that it had when it goes down, and refuses what comes", () => {
    const { run, send } = world({ concurrency: 1, service: constant }, [{ type: "down", at: 5, for: 10 }])
    send("a", 0)
    send("b", 0)
    send("c", 8)
    send("d", 15)
    assert.deepStrictEqual(run(), ["a refused at 5", "b refused at 5", "c refused at 9", "d ok at 25"])
  })

  it("fails as often as it is told, at the end of the work", () => {
    const { run, send } = world({ service: constant }, [{ type: "failing", rate: 1, at: 5, for: 10 }])
    send("a", 0)
    send("b", 6)
    assert.deepStrictEqual(run(), ["a ok at 10", "b failed at 16"])
  })

  it("takes longer the more wait, with contention", () => {
    const { run, send } = world({ concurrency: 1, contention: 0.5, service: constant })
    for (const name of ["a", "b", "c"]) send(name, 0)
    // b begins while c waits: half as long again
    assert.deepStrictEqual(run(), ["a ok at 10", "b ok at 25", "c ok at 35"])
  })
})

describe("servers", () => {
  const replicas = 4

  it("other-replica: no attempt of a call goes where one was, while there is another place", () => {
    const { servers } = timeline({ replicas, routing: "other-replica", service: constant })
    for (let seed = 0; seed < 50; seed++) {
      const caller = makeCaller(seed)
      for (let i = 0; i < replicas; i++) servers.send(caller, () => {})
      assert.strictEqual(new Set(caller.tried).size, replicas)
      servers.send(caller, () => {})
      assert.lengthOf(caller.tried, 1)
    }
  })

  it("random: every replica gets its share", () => {
    const { servers } = timeline({ replicas, service: constant })
    for (let seed = 0; seed < 4_000; seed++) servers.send(makeCaller(seed), () => {})
    for (const replica of servers.replicas) assert.closeTo(replica.working.length, 1_000, 100)
  })

  it("sharedSlowness: so many calls are slow on every attempt, and no more", () => {
    const { servers } = timeline({ service: { type: "uniform", min: 1, max: 1_000 }, sharedSlowness: 0.3 })
    let same = 0
    for (let seed = 0; seed < 2_000; seed++) {
      const caller = makeCaller(seed)
      const [first, second] = [servers.send(caller, () => {}), servers.send(caller, () => {})]
      if (first.work === second.work) same++
    }
    assert.closeTo(same / 2_000, 0.3, 0.04)
  })
})
