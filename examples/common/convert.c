/* SPDX-License-Identifier: Apache-2.0 */
#include "examples/common/convert.h"

#include <string.h>

/* A model of one of these kinds; the others are NULL. */
typedef struct {
    pumit_vit *vit;
    pumit_tokenizer *tokenizer;
    pumit_classifier *classifier;
    pumit_module *module; /* borrowed */
} model;

static pumit_status make_vit(model *m, cli *c, const pumit_config *config)
{
    const pumit_status status = pumit_vit_create(&m->vit, c->ctx, config);
    m->module = pumit_vit_module(m->vit);
    return status;
}

static pumit_status make_tokenizer(model *m, cli *c, const pumit_config *config)
{
    const pumit_status status = pumit_tokenizer_create(&m->tokenizer, c->ctx, config);
    m->module = pumit_tokenizer_module(m->tokenizer);
    return status;
}

/* Its transformer is made of the section "vit". */
static pumit_status make_classifier(model *m, cli *c, const pumit_config *config)
{
    pumit_config *section;
    pumit_status status = pumit_config_get_section(&section, c->config, "vit");
    if (status != PUMIT_OK) return status;
    status = make_vit(m, c, section);
    pumit_config_release(section);
    if (status == PUMIT_OK) status = pumit_classifier_create(&m->classifier, m->vit, config);
    if (status == PUMIT_OK) m->module = pumit_classifier_module(m->classifier);
    return status;
}

/* In the order in which sections are looked for. */
static const struct {
    const char *kind;
    pumit_status (*make)(model *m, cli *c, const pumit_config *config);
} kinds[] = {{"classifier", make_classifier}, {"vit", make_vit}, {"tokenizer", make_tokenizer}};

enum { KINDS = sizeof kinds / sizeof *kinds };

static bool has_section(const pumit_config *config, const char *name)
{
    char *text;
    pumit_config *section;
    bool found = false;
    if (pumit_config_get_section(&section, config, name) != PUMIT_OK) return false;
    if (pumit_config_to_json(&text, section) == PUMIT_OK) {
        found = strchr(text, '"') != NULL; /* any key */
        pumit_free(text);
    }
    pumit_config_release(section);
    return found;
}

/* Number in `kinds`; -1 if the configuration does not say, or names another. */
static int kind_of(const pumit_config *config)
{
    const char *kind;
    if (pumit_config_get_string(&kind, config, "kind", NULL) != PUMIT_OK) return -1;
    if (!kind && has_section(config, "vit") && has_section(config, "tokenizer")) return -1;
    for (int i = 0; i < KINDS; i++)
        if (kind ? strncmp(kind, kinds[i].kind, strlen(kinds[i].kind)) == 0
                 : has_section(config, kinds[i].kind))
            return i;
    return -1;
}

/* Adaptations are what the user wants to see. */
static void tell(void *user, int32_t level, const char *message)
{
    const cli *c = user;
    if (level == PUMIT_LOG_WARNING || !c->quiet) cli_say(c, "%s", message);
}

static pumit_status make(model *m, cli *c, int kind)
{
    pumit_config *section;
    const char *const name = has_section(c->config, kinds[kind].kind) ? kinds[kind].kind : NULL;
    if (!name) return kinds[kind].make(m, c, c->config);
    pumit_status status = pumit_config_get_section(&section, c->config, name);
    if (status != PUMIT_OK) return status;
    status = kinds[kind].make(m, c, section);
    pumit_config_release(section);
    return status;
}

static pumit_status take(cli *c, pumit_module *module, const char *path)
{
    pumit_config *options;
    pumit_status status = pumit_config_get_section(&options, c->config, "convert");
    if (status != PUMIT_OK) return status;
    status = pumit_module_import(module, path, options);
    pumit_config_release(options);
    return status;
}

static pumit_status save(const pumit_module *module, const char *path, const char *output)
{
    pumit_config *provenance;
    const char *const slash = strrchr(path, '/');
    pumit_status status = pumit_config_create(&provenance);
    if (status != PUMIT_OK) return status;
    status = pumit_config_set_string(provenance, "converted_from", slash ? slash + 1 : path);
    if (status == PUMIT_OK) status = pumit_module_save(module, output, provenance);
    pumit_config_release(provenance);
    return status;
}

int convert_checkpoint(cli *c, const char *path, const char *output)
{
    model m = {0};
    const int kind = kind_of(c->config);
    if (kind < 0)
        return cli_wrong_usage(c,
                               "a configuration (--config) must say what model %s is of: "
                               "\"kind\" vit, tokenizer or classifier",
                               path);
    if (!c->ctx && cli_open_context(c) != PUMIT_OK) return cli_fail(c);
    pumit_context_set_log(c->ctx, tell, c);
    pumit_status status = make(&m, c, kind);
    if (status == PUMIT_OK) status = take(c, m.module, path);
    if (status == PUMIT_OK) status = save(m.module, path, output);
    pumit_classifier_release(m.classifier);
    pumit_vit_release(m.vit);
    pumit_tokenizer_release(m.tokenizer);
    pumit_context_set_log(c->ctx, NULL, NULL);
    return status == PUMIT_OK ? CLI_DONE : cli_fail(c);
}
