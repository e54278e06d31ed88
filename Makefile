VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# The image that is built and deployed.
IMG ?= ghcr.io/plexlink/operator:$(VERSION)
KUBECTL ?= $(or $(shell command -v kubectl 2>/dev/null),bin/k8s/kubectl)

LDFLAGS = -X main.version=$(VERSION)
# The folder in which envtest finds kube-apiserver, etcd and kubectl.
export KUBEBUILDER_ASSETS = $(CURDIR)/bin/k8s
GENERATED = 'api/*/zz_generated.deepcopy.go' config/crd/bases config/rbac/role.yaml charts/plexlink/files/crd.yaml \
	charts/plexlink/files/role.yaml charts/plexlink/README.md docs/api.md config/crd/plexlink_v1alpha1.schema.json

ifneq (,$(filter-out help,$(MAKECMDGOALS)))
ifeq (,$(shell command -v go 2>/dev/null))
$(error Go is missing: install Go 1.26 or newer, see https://go.dev/doc/install)
endif
endif

##@ General

.PHONY: help
help: ## Show this list.
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: control-plane ## Show the whole flow on this machine; AUTO=1 enters the PIN for you and exits.
	@go build -o bin/demo/ ./hack/demo
	@exec bin/demo/demo $(if $(filter 1,$(AUTO)),-auto)

.PHONY: demo-recording
demo-recording: control-plane docs/node_modules ## Record docs/demo.svg from a real run; needs asciinema and npm.
	@command -v asciinema >/dev/null || { echo 'asciinema is missing (Debian: apt install asciinema)' >&2; exit 1; }
	go build -o bin/demo/ ./hack/demo
	bin/demo/demo -record bin/demo/scene.cast
	cd docs && node ../hack/demo/svg.mjs ../bin/demo/scene.cast demo.svg

.PHONY: run
run: ## Run the manager against the current kubeconfig and the real plex.tv ("make install" first).
	go run -ldflags '$(LDFLAGS)' ./cmd/manager

##@ Development

.PHONY: generate
generate: bin/controller-gen ## Generate the DeepCopy methods of the API types.
	bin/controller-gen object paths=./api/...

# The API server's format date-time accepts times that Go cannot decode, and one of them stops every informer. controller-gen
# has no marker for the times in metav1.Condition. Go writes times in UTC, where the year must still have four digits, and
# the zero time as null.
DATE_TIME = -[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?
TIMESTAMP = ^([1-9][0-9]{3}$(DATE_TIME)Z|[2-8][0-9]{3}$(DATE_TIME)[+-]([01][0-9]|2[0-3]):[0-5][0-9])$$

.PHONY: manifests
manifests: bin/controller-gen ## Generate the CRD and the manager's role, for kustomize and the chart.
	bin/controller-gen crd rbac:roleName=manager-role paths=./... \
		output:crd:dir=config/crd/bases output:rbac:dir=config/rbac
	sed -i -E "s/^( *)format: date-time$$/&\n\1pattern: '$(TIMESTAMP)'/" config/crd/bases/*.yaml
	cp config/crd/bases/plexlink.dev_plexlinks.yaml charts/plexlink/files/crd.yaml
	cp config/rbac/role.yaml charts/plexlink/files/role.yaml

.PHONY: api-docs
api-docs: bin/crd-ref-docs ## Generate docs/api.md, the reference of the API, from the types.
	bin/crd-ref-docs --source-path api --config hack/tools/crd-ref-docs.yaml --renderer markdown \
		--templates-dir hack/tools/crd-ref-docs --output-path docs/api.md

.PHONY: chart-docs
chart-docs: bin/chartdocs ## Generate the table of values in the chart's README from values.yaml.
	bin/chartdocs charts/plexlink

.PHONY: crd-schema
crd-schema: bin/crdschema ## Generate the JSON schema of PlexLinks, for editors, from the CRD.
	bin/crdschema config/crd/bases/plexlink.dev_plexlinks.yaml config/crd/plexlink_v1alpha1.schema.json

.PHONY: verify
verify: generate manifests api-docs chart-docs crd-schema ## Fail when a generated file differs from the committed one.
	@stale=$$(git status --porcelain --untracked-files=all -- $(GENERATED)) || exit 1; \
	if [ -n "$$stale" ]; then \
		git --no-pager diff HEAD -- $(GENERATED); \
		printf '%s\n' "$$stale" 'Generated files are stale: run "make generate manifests api-docs chart-docs crd-schema" and commit them.' >&2; \
		exit 1; \
	fi

.PHONY: fmt
fmt: bin/golangci-lint ## Format the code and its imports.
	bin/golangci-lint fmt

.PHONY: vet
vet: ## Run go vet over every Go module of the repository.
	go vet ./...
	cd hack/tools && go vet ./...
	cd hack/kubernetes && CGO_ENABLED=0 go vet -trimpath ./...
	cd hack/kubernetes/node && CGO_ENABLED=0 go vet -trimpath ./...
	cd test/clients && go vet ./...

.PHONY: lint
lint: vet bin/golangci-lint bin/actionlint ## Run the linters of .golangci.yml, go vet, and actionlint on the workflows.
	bin/golangci-lint run
	bin/actionlint

.PHONY: control-plane
control-plane: ## Put kube-apiserver, etcd, kubectl and kube-controller-manager into bin/k8s.
	@hack/kubernetes/build.sh kube-apiserver etcd kubectl kube-controller-manager

# These advance the clocks of many operators at once, while requests take real time: with the race detector they are too slow
# for that. The last line of each says what it ran.
PROOFS = ^(TestFaultMatrix|TestAPIServerFaultMatrix|TestEveryCallMayFail|TestEndDoesNotDependOnTheHistory|TestEveryFieldGoesFromEachValueToEachOther)$$
SHOW_PROOFS = grep -E '^ +[a-z_]+_test.go:[0-9]+: (every call may fail|API server faults|history|fields): |^(--- |FAIL|ok|panic)|^ +--- FAIL' bin/proofs.log

# Stories mostly wait: twelve at a time keep two cores busy.
.PHONY: test
test: control-plane bin/helm ## Run all tests, with the race detector, on a real kube-apiserver and etcd.
	@race=-race; \
	if ! go build -race runtime/cgo 2>/dev/null; then \
		race=; \
		echo 'NOTE: testing WITHOUT the race detector, it needs a C compiler (Debian: apt install gcc libc6-dev).'; \
	fi; \
	if ! command -v gpg >/dev/null; then \
		echo 'NOTE: testing WITHOUT signing the chart, it needs GnuPG (Debian: apt install gnupg).'; \
	fi; \
	if ! command -v promtool >/dev/null; then \
		echo 'NOTE: testing WITHOUT dashboard and alerts, they need Prometheus (Debian: apt install prometheus).'; \
	fi; \
	set -x; go test $$race -parallel 12 -timeout 25m -skip '$(PROOFS)' ./...
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target test-proofs test-install test-clients

.PHONY: test-proofs test-exhaustive
test-proofs: PROOF_FLAGS = -timeout 15m
test-exhaustive: PROOF_FLAGS = -timeout 60m -count 1 -exhaustive -rapid.checks 500 -rapid.v
test-proofs: control-plane ## Run the proofs of docs/testing.md.
test-exhaustive: control-plane ## Run them with every call failing in every way, and 500 random histories.
test-proofs test-exhaustive:
	@go test -v -run '$(PROOFS)' ./test/stories $(PROOF_FLAGS) >bin/proofs.log || { cat bin/proofs.log; exit 1; }
	@$(SHOW_PROOFS)

.PHONY: test-install
test-install: control-plane bin/helm ## Test the chart and the manifests on a kube-apiserver.
	cd test/install && go test -timeout 15m ./...

NPM_CLIENTS = test/clients/npm/node_modules/.package-lock.json

$(NPM_CLIENTS): test/clients/npm/package-lock.json
	cd test/clients/npm && npm ci --ignore-scripts --no-audit --no-fund --loglevel error
	touch $@

.PHONY: test-clients
test-clients: $(if $(shell command -v npm),$(NPM_CLIENTS)) ## Test plexsim with Plex clients of other projects, and with a browser.
	@if ! command -v npm >/dev/null; then \
		echo 'NOTE: testing WITHOUT clients in JavaScript, they need Node.js (Debian: apt install nodejs npm).'; \
	fi; \
	if ! command -v chromium >/dev/null; then \
		echo 'NOTE: testing WITHOUT the pages of plexsim, they need a browser (Debian: apt install chromium).'; \
	fi
	cd test/clients && go test -timeout 10m -count 1 ./...

.PHONY: test-mutants
test-mutants: control-plane ## Check that the proofs notice mistakes in the operator; ALONE=1: that no other test does.
	@hack/mutants.sh

.PHONY: node-programs
node-programs: control-plane ## Put the other programs of a node (kubelet, containerd, runc, …) into bin/k8s.
	@hack/kubernetes/build.sh kubelet kube-scheduler kube-proxy containerd containerd-shim-runc-v2 ctr runc \
		bridge host-local loopback coredns pause
	go build -o bin/node ./hack/node

.PHONY: node
node: node-programs bin/helm ## Boot a Kubernetes of one node on this machine (Linux, root), with a shell on it.
	bin/node

.PHONY: e2e
e2e: bin/helm ## Test the chart on the kind cluster of KUBECONFIG, or on a node booted here (Linux, root).
	@test/e2e/run.sh

.PHONY: footprint
footprint: ARCHS = $(shell go env GOARCH)
footprint: control-plane image ## Measure the memory and the CPU of the released manager; fail above the limits.
	go test -tags footprint -run Footprint -count 1 -timeout 60m -v ./test/footprint

.PHONY: test-kill
test-kill: control-plane ## Kill the manager 200 times over 50 links, and check that nothing is lost.
	go test -timeout 40m -count 1 -v -run TestManagerThatIsKilled ./test/stories -kills 200 -kill-links 50

.PHONY: test-scale
test-scale: control-plane ## Test 100 pending links that share the budget, and a restart with 1,000 linked ones.
	go test -timeout 40m -count 1 -v -run 'TestTrueTime/share_the_budget' ./test/stories -load-links 100
	go test -timeout 40m -count 1 -v -run 'TestTrueTime/restart' ./test/stories -scale-links 1000

.PHONY: bench
bench: control-plane ## Measure how long a link takes, and print the distribution.
	go test -run '^$$' -bench '/^1_pending' -benchtime 60x ./test/stories
	go test -run '^$$' -bench '/^25_pending' -benchtime 2x ./test/stories

# Two at a time, on one core each; bin/fuzz has their logs.
FUZZ = $(CURDIR)/bin/fuzz
.PHONY: fuzz
fuzz: ## Run every fuzz test for 30 seconds.
	@set -e; rm -rf $(FUZZ); mkdir -p $(FUZZ); \
	for package in $$(grep -rlE '^func Fuzz' --include='*_test.go' internal | xargs -n 1 dirname | sort -u); do \
		(cd $$package && go test -c -vet off -fuzz . -o $(FUZZ)/$${package##*/}.test .); \
		(cd $$package && $(FUZZ)/$${package##*/}.test -test.list '^Fuzz') >$(FUZZ)/list; \
		sed "s|^|$$package |" $(FUZZ)/list >>$(FUZZ)/targets; \
	done; \
	echo "fuzz: $$(wc -l <$(FUZZ)/targets) targets"; \
	xargs -P 2 -n 2 sh -c 'cd $$0 && $(FUZZ)/$${0##*/}.test -test.run "^$$" -test.fuzz "^$$1\$$" -test.fuzztime 30s -test.parallel 1 \
		-test.fuzzcachedir $(FUZZ)/corpora >$(FUZZ)/$$1.log 2>&1 || { cat $(FUZZ)/$$1.log; exit 1; }; \
		echo "$$1: $$(grep -o "execs: [0-9]*" $(FUZZ)/$$1.log | tail -n 1)"' <$(FUZZ)/targets

##@ Build

.PHONY: build
build: ## Build bin/manager.
	go build -ldflags '$(LDFLAGS)' -o bin/manager ./cmd/manager

# Without inlining the manager is a tenth smaller; it mostly waits for answers.
SMALL = -gcflags=all=-l
# Architectures of the image; armv7 is linux/arm/v7.
ARCHS ?= amd64 arm64 armv7

.PHONY: image
image: ## Write bin/image/plexlink-ARCH.tar, for docker load or ctr import, for each of ARCHS.
	@set -e; for arch in $(ARCHS); do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$${arch%v7} GOARM=7 go build -trimpath -buildvcs=false $(SMALL) \
			-ldflags '-s -w $(LDFLAGS)' -o bin/image/$$arch/manager ./cmd/manager; \
		go run ./hack/image -binary bin/image/$$arch/manager -arch $${arch%v7} -tag $(IMG) -out bin/image/plexlink-$$arch.tar \
			-version $(VERSION) -revision $$(git rev-parse HEAD) -created $$(git log -1 --format=%ct); \
	done

PLUGIN_PLATFORMS ?= linux-amd64 linux-arm64 darwin-amd64 darwin-arm64 windows-amd64 windows-arm64

.PHONY: plugin
plugin: ## Build the kubectl plugin for all platforms into bin/plugin, and pack it for krew into dist.
	@set -e; rm -rf bin/plugin; mkdir -p dist; for platform in $(PLUGIN_PLATFORMS); do \
		CGO_ENABLED=0 GOOS=$${platform%-*} GOARCH=$${platform#*-} go build -trimpath -buildvcs=false -ldflags '-s -w $(LDFLAGS)' \
			-o bin/plugin/$$platform/ ./cmd/kubectl-plexlink; \
	done
	go run ./hack/krew -version $(VERSION) -in bin/plugin -out dist

.PHONY: sbom
sbom: bin/cyclonedx-gomod ## Write bin/image/plexlink.cdx.json, the software bill of materials (CycloneDX).
	mkdir -p bin/image
	CGO_ENABLED=0 GOOS=linux bin/cyclonedx-gomod app -json -licenses -std -noserial -notimestamp \
		-main cmd/manager -output bin/image/plexlink.cdx.json .

.PHONY: build-installer
build-installer: bin/kustomize ## Write dist/install.yaml, all manifests in one file, with the image IMG.
	mkdir -p dist && rm -f dist/kustomization.yaml
	cd dist && ../bin/kustomize create --resources ../config/default
	cd dist && ../bin/kustomize edit set image ghcr.io/plexlink/operator=$(IMG)
	bin/kustomize build dist > dist/install.yaml

.PHONY: chart
chart: bin/helm ## Pack the chart into dist, signed with the OpenPGP secret key CHART_SIGNING_KEY if it is set.
	mkdir -p dist
	hack/chart.sh dist

.PHONY: release-commit
release-commit: ## Name VERSION in all files that name a version; commit and tag the result.
	hack/release.sh prepare $(VERSION)

.PHONY: release-assets
release-assets: image sbom build-installer plugin chart crd-schema ## Write the files, checksums and notes of the release VERSION into dist.
	hack/release.sh check $(VERSION)
	hack/release.sh notes $(VERSION) > dist/notes.md
	cp bin/image/plexlink-*.tar bin/image/plexlink.cdx.json config/crd/plexlink_v1alpha1.schema.json dist/
	cd dist && sha256sum install.yaml plexlink.yaml *.tgz *.tar *.tar.gz *.json > checksums.txt

.PHONY: site
site: docs/node_modules ## Build the site from docs into bin/site; needs npm.
	cd docs && npx --no-install vitepress build

docs/node_modules: docs/package-lock.json
	@command -v npm >/dev/null || { echo 'npm is missing: install Node.js 20 or newer, see https://nodejs.org' >&2; exit 1; }
	cd docs && npm ci --no-audit --no-fund
	touch $@

##@ Deployment to the cluster of the current kubeconfig

.PHONY: install
install: ## Install the CRD.
	$(KUBECTL) apply -k config/crd

.PHONY: uninstall
uninstall: ## Remove the CRD, and with it every PlexLink.
	$(KUBECTL) delete --ignore-not-found -k config/crd

.PHONY: deploy
deploy: build-installer ## Install the CRD and the manager, with the image IMG.
	$(KUBECTL) apply -f dist/install.yaml

# A running manager signs the PlexLinks out, or gives up after five minutes. The rest of them, or all of them if it does not
# run, lose their finalizers and keep their tokens.
.PHONY: undeploy
undeploy: ## Sign out and remove every PlexLink, then remove the manager and the CRD.
	-if $(KUBECTL) wait -n plexlink-system deployment/plexlink-controller-manager --for condition=Available --timeout 0; then \
		$(KUBECTL) delete plexlinks --all --all-namespaces --timeout 6m; \
	fi
	$(KUBECTL) delete --ignore-not-found -n plexlink-system deployment/plexlink-controller-manager
	if $(KUBECTL) get crd plexlinks.plexlink.dev; then go run ./cmd/manager --uninstall; fi
	$(KUBECTL) delete --ignore-not-found -k config/default

# Developer tools, built when they are needed and when a pinned version has changed.

bin/actionlint: TOOL = github.com/rhysd/actionlint/cmd/actionlint
bin/chartdocs: TOOL = ./chartdocs
bin/crdschema: TOOL = ./crdschema
bin/controller-gen: TOOL = sigs.k8s.io/controller-tools/cmd/controller-gen
bin/crane: TOOL = github.com/google/go-containerregistry/cmd/crane
bin/crd-ref-docs: TOOL = github.com/elastic/crd-ref-docs
bin/cyclonedx-gomod: TOOL = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
bin/golangci-lint: TOOL = ./golangci-lint
bin/helm: TOOL = helm.sh/helm/v4/cmd/helm
bin/kustomize: TOOL = sigs.k8s.io/kustomize/kustomize/v5
bin/golangci-lint: hack/tools/golangci-lint/main.go
bin/chartdocs: hack/tools/chartdocs/main.go
bin/crdschema: hack/tools/crdschema/main.go
bin/actionlint bin/chartdocs bin/controller-gen bin/crdschema bin/crane bin/crd-ref-docs bin/cyclonedx-gomod bin/golangci-lint bin/helm bin/kustomize: \
		hack/tools/go.mod
	cd hack/tools && go build -o ../../$@ $(TOOL)
