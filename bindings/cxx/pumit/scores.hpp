/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file scores.hpp
 * How well predictions agree with the truth, for C++17; see pumit.hpp.
 */
#ifndef PUMIT_SCORES_HPP
#define PUMIT_SCORES_HPP

#include <pumit/models.hpp>

namespace pumit
{

struct scores {
    double accuracy, auc;
};

namespace detail
{

/* The number of images that probabilities (n, classes) and their labels are of. */
inline int64_t judged_count(pumit_task task, int64_t classes,
                            const std::vector<double> &probabilities,
                            const std::vector<int64_t> &labels)
{
    const int64_t each = task == PUMIT_TASK_LABELS ? classes : 1;
    const int64_t n = each > 0 ? static_cast<int64_t>(labels.size()) / each : 0;
    if (static_cast<int64_t>(probabilities.size()) != n * classes ||
        static_cast<int64_t>(labels.size()) != n * each)
        throw std::invalid_argument("as many probabilities as labels times classes are needed");
    return n;
}

} // namespace detail

/** Figures of merit of probabilities (n, classes) against n labels; PUMIT_TASK_LABELS: (n, classes). */
inline scores classification_scores(pumit_task task, int64_t classes,
                                    const std::vector<double> &probabilities,
                                    const std::vector<int64_t> &labels)
{
    const int64_t n = detail::judged_count(task, classes, probabilities, labels);
    scores out{};
    check(pumit_classification_scores(&out.accuracy, &out.auc, task, n, classes,
                                      probabilities.data(), labels.data()));
    return out;
}

/** The same with confidence intervals, figures by class and the confusion matrix, as JSON. */
inline std::string classification_report(pumit_task task, int64_t classes,
                                         const std::vector<double> &probabilities,
                                         const std::vector<int64_t> &labels,
                                         const config &options = config())
{
    const int64_t n = detail::judged_count(task, classes, probabilities, labels);
    char *json = nullptr;
    check(pumit_classification_report(&json, task, n, classes, probabilities.data(), labels.data(),
                                      options.get()));
    return detail::take(json);
}

/** Scores of a case by class, the background first. */
struct segmentation_score {
    double dice, hausdorff95, surface_dice;
};

inline std::vector<segmentation_score> segmentation_scores(int64_t classes,
                                                           const label_map &prediction,
                                                           const label_map &reference,
                                                           double tolerance_mm = 1)
{
    const size_t n = classes > 0 ? static_cast<size_t>(classes) : 0;
    std::vector<double> dice(n), hausdorff95(n), surface_dice(n);
    check(pumit_segmentation_scores(dice.data(), hausdorff95.data(), surface_dice.data(), classes,
                                    prediction.get(), reference.get(), tolerance_mm));
    std::vector<segmentation_score> out(n);
    for (size_t c = 0; c < n; c++) out[c] = {dice[c], hausdorff95[c], surface_dice[c]};
    return out;
}

/** Scores of many cases with confidence intervals. */
class segmentation_report
    : public detail::handle<pumit_segmentation_report, pumit_segmentation_report_release>
{
  public:
    explicit segmentation_report(const config &options = config())
    {
        make(pumit_segmentation_report_create, options.get());
    }
    void add(const std::string &name, const label_map &prediction, const label_map &reference)
    {
        check(
            pumit_segmentation_report_add(get(), name.c_str(), prediction.get(), reference.get()));
    }
    /** JSON. */
    std::string to_json() const
    {
        char *out = nullptr;
        check(pumit_segmentation_report_to_json(&out, get()));
        return detail::take(out);
    }
};

} // namespace pumit

#endif
