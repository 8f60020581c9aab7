# SPDX-License-Identifier: Apache-2.0
# What a receiver of the library asks for: the same bytes from the same sources, hardened, what is inside, packages.

SUPPLY_PACKAGES := debhelper dh-python dpkg-dev help2man lintian
CHROOT_PACKAGES := mmdebstrap

.PHONY: repro-check
repro-check: all  ## build a copy in another folder, at another time: the same bytes?
	+@scripts/check-reproducible '$(BUILD)'

.PHONY: hardening-check
hardening-check: all  ## read the hardening of library and programs from the files
	@scripts/check-hardening '$(BUILD)'

.PHONY: sbom
sbom: $(SHARED)  ## $(BUILD)/libpumit.spdx.json: what the library links, versions and licences (SPDX 2.3)
	@scripts/sbom $(SHARED) $(VERSION) $(BUILD)/libpumit.spdx.json

# help2man runs the programs, which may be built to look for the library in the system's folders only.
PAGES := $(PROGRAMS:$(BUILD)/bin/%=$(BUILD)/man/%.1)
$(BUILD)/man/%.1: $(BUILD)/bin/% scripts/man-page
	@mkdir -p $(@D) && LD_LIBRARY_PATH='$(abspath $(BUILD))' scripts/man-page $< > $@.new && mv $@.new $@

.PHONY: man
man: $(PAGES)  ## manual pages of the programs, from their --help, into $(BUILD)/man (needs help2man)

.PHONY: deb
deb:  ## Debian packages of the committed sources, checked by lintian, into $(BUILD)/deb
	@$(if $(NODEPS),:,scripts/deps $(PACKAGES) $(SUPPLY_PACKAGES))
	@scripts/deb '$(BUILD)/deb' $(VERSION)

.PHONY: deb-check
deb-check:  ## install these packages into a system made for it, build a program there, remove them
	@$(if $(NODEPS),:,scripts/deps $(CHROOT_PACKAGES))
	@scripts/check-deb '$(BUILD)/deb'
