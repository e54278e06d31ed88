{{- /* The page of the API. PlexLink introduces it; the other types follow where a reader meets them first. */ -}}
{{- define "gvList" -}}
# API reference
{{- range . }}
{{- $gv := . }}
{{- range .SortedKinds }}
{{- with $gv.TypeForKind . }}

`apiVersion: {{ .GVK.Group }}/{{ .GVK.Version }}`, `kind: {{ .GVK.Kind }}`

{{ .Doc }}
{{- template "members" (dict "gv" $gv "type" . "path" "" "seen" (dict)) }}
{{- end }}
{{- end }}
{{- end }}
{{ end -}}

{{- /* The types of a struct's fields, each with what it consists of behind it. */ -}}
{{- define "members" -}}
{{- $ := . }}
{{- range .type.Members }}
{{- $type := $.gv.TypeForKind .Type.Name }}
{{- if and $type $type.Members (not (hasKey $.seen .Type.Name)) }}
{{- $_ := set $.seen .Type.Name true }}
{{- $path := printf "%s%s%s" $.path .Name (ternary "[]" "" (hasSuffix "array" (markdownRenderType .Type))) }}

## {{ $type.Name }}

`{{ $path }}`: {{ $type.Doc }}
{{ range $type.Members }}
- **`{{ .Name }}`** ({{ template "kind" .Type }}
	{{- range .Validation }}{{ if not (hasPrefix "Optional" .) }}, {{ . | replace ": {}" "" }}{{ end }}{{ end }})

{{ .Doc | indent 2 | replace "\n  \n" "\n\n" }}
{{- end }}
{{- template "members" (dict "gv" $.gv "type" $type "path" (printf "%s." $path) "seen" $.seen) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "kind" -}}
{{- if .KeyType }}map of strings{{ range .ValueType.Validation }}, each {{ . }}{{ end }}
{{- else if .IsAlias }}string
{{- else if and .UnderlyingType .UnderlyingType.IsAlias }}list of strings
{{- else }}{{ markdownRenderType . }}{{ end }}
{{- end -}}
