{{/* The back-end of the lease. */}}
{{- define "autoscaler.lease" -}}
{{- $several := gt (int .Values.replicas) 1 -}}
{{- dig "leadership" "lease" ($several | ternary "kubernetes" "none") .Values.config -}}
{{- end }}

{{- define "autoscaler.leaseName" -}}
{{- dig "leadership" "name" (include "autoscaler.name" .) .Values.config -}}
{{- end }}

{{- define "autoscaler.port" -}}
{{- dig "server" "port" 9464 .Values.config -}}
{{- end }}

{{- define "autoscaler.tls" -}}
{{- if dig "server" "tls" "" .Values.config }}yes{{ end -}}
{{- end }}

{{/* The ports of Elasticsearch, each once, as YAML. */}}
{{- define "autoscaler.elasticsearchPorts" -}}
{{- $ports := list -}}
{{- $hosts := dig "elasticsearch" "hosts" list .Values.config -}}
{{- range kindIs "string" $hosts | ternary (list $hosts) $hosts -}}
{{- $url := urlParse . -}}
{{- $usual := eq $url.scheme "http" | ternary "80" "443" -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default $usual | int) -}}
{{- end -}}
{{- if dig "elasticsearch" "cloud_id" "" .Values.config -}}
{{- $ports = concat $ports (list 443 9243) -}}
{{- end -}}
{{- concat $ports .Values.networkPolicy.ports.elasticsearch | uniq | toYaml -}}
{{- end }}

{{/* What the values cannot mean together, in one sentence each. */}}
{{- define "autoscaler.refusals" -}}
{{- $elasticsearch := .Values.config.elasticsearch | default dict -}}
{{- if not (or $elasticsearch.hosts $elasticsearch.cloud_id) -}}
{{- fail "config.elasticsearch: set hosts, the addresses of the cluster, or cloud_id" -}}
{{- end -}}
{{- range list "api_key" "password" "bearer_token" -}}
{{- if get $elasticsearch . -}}
{{- fail (printf "config.elasticsearch.%s would be readable in a ConfigMap: put it into a secret, name that in `secrets`, and set %s_file to /run/secrets/autoscaler/KEY" . .) -}}
{{- end -}}
{{- end -}}
{{- if dig "server" "token" "" .Values.config -}}
{{- fail "config.server.token would be readable in a ConfigMap: put it into a secret, name that in `secrets`, and set token_file to /run/secrets/autoscaler/KEY" -}}
{{- end -}}
{{- if eq (include "autoscaler.port" .) "0" -}}
{{- fail "config.server.port: name a port, since the service and the probes need one" -}}
{{- end -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- if has (include "autoscaler.lease" .) (list "none" "file") -}}
{{- fail "replicas: several need a lease that all of them reach: set config.leadership.lease to kubernetes or elasticsearch" -}}
{{- end -}}
{{- if .Values.claim.enabled -}}
{{- fail "claim: of several replicas, one uses it; set config.state to elasticsearch instead" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* config.toml: the values, and what follows from the rest of the chart. */}}
{{- define "autoscaler.config" -}}
{{- $name := include "autoscaler.name" . -}}
{{- $config := deepCopy .Values.config -}}
{{- $elasticsearch := $config.elasticsearch -}}
{{- $given := dict "server" (dict "allowed_hosts" (list $name (printf "%s.*.svc" $name) (printf "%s.*.svc.cluster.local" $name))) -}}
{{- if and .Values.secrets (not (or $elasticsearch.api_key_file $elasticsearch.username $elasticsearch.bearer_token_file)) -}}
{{- $_ := set $given "elasticsearch" (dict "api_key_file" "/run/secrets/autoscaler/api_key") -}}
{{- end -}}
{{- $lease := include "autoscaler.lease" . -}}
{{- if ne $lease "none" -}}
{{- $_ := set $given "leadership" (dict "lease" $lease "name" (include "autoscaler.leaseName" .)) -}}
{{- end -}}
{{/* All numbers of values are floats to Helm, and the configuration has integers. */ -}}
{{- regexReplaceAll "(?m)^(\\s*[\\w-]+ = -?\\d+)\\.0$" (merge $config $given | toToml) "${1}" | trim -}}
{{- end }}
