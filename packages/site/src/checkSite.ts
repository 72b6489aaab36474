/**
 * Follows every link of a site that was built, without a browser.
 *
 * @internal
 */
import { existsSync, globSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"

const linksIn = (html: string): Array<string> =>
  Array.from(html.matchAll(/\s(?:href|src)="([^"]*)"/g), ([, target]) => target!)
    .filter((target) => !/^[a-z][a-z+.-]*:/i.test(target))

const idsIn = (html: string): Set<string> => new Set(Array.from(html.matchAll(/\sid="([^"]*)"/g), ([, id]) => id!))

/** The links that lead nowhere, as `page  target`. */
export const brokenIn = (folder: string): Array<string> => {
  const pages = new Map(
    globSync("**/*.html", { cwd: folder }).map((page) => [page, readFileSync(join(folder, page), "utf8")])
  )
  const leads = (page: string, target: string): boolean => {
    const [path = "", id] = target.split("#")
    const file = path === "" ? page : normalize(join(dirname(page), decodeURIComponent(path)))
    if (!existsSync(join(folder, file))) return false
    return id === undefined || !pages.has(file) || idsIn(pages.get(file)!).has(decodeURIComponent(id))
  }
  return [...pages].flatMap(([page, html]) =>
    [...new Set(linksIn(html))].filter((target) => !leads(page, target)).map((target) => `${page}  ${target}`)
  )
}
