/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file training.hpp
 * Optimiser and training runs for C++17; see pumit.hpp.
 */
#ifndef PUMIT_TRAINING_HPP
#define PUMIT_TRAINING_HPP

#include <pumit/models.hpp>

namespace pumit
{

/** AdamW. */
class optimizer : public detail::handle<pumit_optimizer, pumit_optimizer_release>
{
  public:
    explicit optimizer(const module &parameters, const config &options = config())
    {
        make(pumit_optimizer_create, parameters.get(), options.get());
    }
    /** Gives the global norm of the gradients before clipping. */
    double step(double learning_rate, int32_t accumulated = 1)
    {
        double norm = 0;
        check(pumit_optimizer_step(get(), learning_rate, accumulated, &norm));
        return norm;
    }
    int64_t steps() const
    {
        return pumit_optimizer_steps(get());
    }
};

inline double cosine_rate(int64_t step, double base, int64_t max_steps, int64_t warmup,
                          double least)
{
    return pumit_cosine_rate(step, base, max_steps, warmup, least);
}

/** A training run. The datasets must outlive it. */
class trainer : public detail::handle<pumit_trainer, pumit_trainer_release>
{
  public:
    /** Called after each step with its line of metrics.jsonl; true stops the run. */
    using progress = std::function<bool(int64_t step, int64_t max_steps, const char *metrics)>;

    trainer(context &owner, const dataset &train, const dataset *validation, const config &options)
    {
        make(pumit_trainer_create, owner.get(), train.get(),
             validation ? validation->get() : nullptr, options.get());
    }
    /** True when finished, false when stopped. What `report` throws stops the run, which is saved. */
    bool run(const progress &report = nullptr)
    {
        call_state state{&report, nullptr};
        if (report) pumit_trainer_set_progress(get(), &trainer::forward, &state);
        const pumit_status status = pumit_trainer_run(get());
        pumit_trainer_set_progress(get(), nullptr, nullptr);
        if (state.thrown) std::rethrow_exception(state.thrown);
        if (status == PUMIT_ERROR_CANCELLED) return false;
        check(status);
        return true;
    }
    void stop() noexcept
    {
        pumit_trainer_stop(get());
    }
    /** JSON. */
    std::string summary() const
    {
        char *out = nullptr;
        check(pumit_trainer_summary(&out, get()));
        return detail::take(out);
    }
    std::string model_path() const
    {
        return pumit_trainer_model_path(get());
    }

  private:
    struct call_state {
        const progress *report;
        std::exception_ptr thrown;
    };
    static int32_t forward(void *user, int64_t step, int64_t max_steps, const char *metrics)
    {
        call_state &state = *static_cast<call_state *>(user);
        try {
            return (*state.report)(step, max_steps, metrics);
        } catch (...) {
            state.thrown = std::current_exception();
            return 1;
        }
    }
};

} // namespace pumit

#endif
