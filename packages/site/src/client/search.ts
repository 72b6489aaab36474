/** The search box of every page. The index is loaded when somebody begins to type. */
import MiniSearch from "minisearch"
import { type Entry, limit, options } from "../search.ts"

const input = document.querySelector<HTMLInputElement>("#search")!
const results = document.querySelector<HTMLOListElement>("#results")!
const toRoot = document.body.dataset["root"] ?? ""

let loading: Promise<MiniSearch<Entry>> | undefined
const load = (): Promise<MiniSearch<Entry>> =>
  loading ??= fetch(`${toRoot}assets/search.json`)
    .then((response) => response.text())
    .then((json) => MiniSearch.loadJSON(json, options))

const item = (id: string, title: string, page: string): HTMLLIElement => {
  const link = document.createElement("a")
  link.href = `${toRoot}${id}`
  link.textContent = title
  if (page !== title) {
    const where = document.createElement("small")
    where.textContent = ` ${page}`
    link.append(where)
  }
  const row = document.createElement("li")
  row.append(link)
  return row
}

const show = async (): Promise<void> => {
  const index = await load()
  const found = input.value.trim() === "" ? [] : index.search(input.value).slice(0, limit)
  results.replaceChildren(...found.map(({ id, page, title }) => item(String(id), String(title), String(page))))
  results.hidden = found.length === 0
}

input.addEventListener("focus", () => void load())
input.addEventListener("input", () => void show())
input.form?.addEventListener("submit", (event) => {
  event.preventDefault()
  results.querySelector("a")?.click()
})
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") results.hidden = true
  if (event.key !== "/" || event.target !== document.body) return
  event.preventDefault()
  input.focus()
})
