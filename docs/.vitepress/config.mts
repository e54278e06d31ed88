// The site is made of the files in docs, which GitHub shows too: docs/README.md is the start page and the sidebar.
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { defineConfig, type DefaultTheme } from 'vitepress'

const repository = 'https://github.com/plexlink/operator'
const docs = join(import.meta.dirname, '..')

// sidebar has a group for each section of docs/README.md.
function sidebar(): DefaultTheme.SidebarItem[] {
  const groups: DefaultTheme.SidebarItem[] = []
  for (const line of readFileSync(join(docs, 'README.md'), 'utf8').split('\n')) {
    const heading = line.match(/^## (.*)/)
    if (heading) groups.push({ text: heading[1], items: [] })
    const link = line.match(/^- \[(.*?)\]\((.*?)\)/)
    if (link) groups.at(-1)!.items!.push({ text: link[1], link: target('README.md', link[2]) })
  }
  return groups
}

// target leads links out of docs to GitHub.
function target(page: string, link: string): string {
  if (/^[a-z]+:|^#/.test(link)) return link
  const [path, fragment] = link.split('#')
  const file = normalize(join('docs', dirname(page), path))
  if (!file.startsWith('docs/')) return `${repository}/blob/main/${file}${fragment ? '#' + fragment : ''}`
  return page === 'README.md' && !link.includes(':') ? '/' + link.replace(/README\.md/, 'index.md') : link
}

export default defineConfig({
  title: 'PlexLink',
  description: 'A Plex token and a proven server address for the apps in a Kubernetes cluster.',
  outDir: '../bin/site',
  cacheDir: '../bin/site-cache',
  cleanUrls: true,
  head: [['link', { rel: 'icon', href: '/icon.svg' }]],
  rewrites: { 'README.md': 'index.md', 'recipes/README.md': 'recipes/index.md' },
  markdown: {
    config(md) {
      md.core.ruler.push('links', (state) => {
        const page = state.env.relativePath as string
        const source = existsSync(join(docs, page)) ? page : page.replace(/index\.md$/, 'README.md')
        for (const token of state.tokens.flatMap((block) => block.children ?? [])) {
          const href = token.attrGet('href')
          if (href) token.attrSet('href', target(source, href).replace(/(^|\/)README\.md/, '$1index.md'))
        }
      })
      // Vue would evaluate the templates of Secrets.
      for (const rule of ['text', 'code_inline']) {
        const render = md.renderer.rules[rule]!
        md.renderer.rules[rule] = (...args) => render(...args).replaceAll('{{', '&#123;&#123;')
      }
    },
  },
  themeConfig: {
    logo: '/icon.svg',
    search: { provider: 'local' },
    sidebar: sidebar(),
    outline: [2, 3],
    socialLinks: [{ icon: 'github', link: repository }],
    editLink: { pattern: repository + '/edit/main/docs/:path' },
    footer: { message: 'Not made or endorsed by Plex, Inc. Apache License 2.0.' },
  },
})
